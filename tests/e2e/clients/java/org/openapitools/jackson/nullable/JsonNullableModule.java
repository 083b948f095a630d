package org.openapitools.jackson.nullable;

import com.fasterxml.jackson.annotation.JsonInclude.Include;
import com.fasterxml.jackson.annotation.JsonInclude.Value;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.ser.std.StdSerializer;
import java.io.IOException;

/** Writes the fields of a request that are present. */
public final class JsonNullableModule extends SimpleModule {
    public JsonNullableModule() {
        addSerializer(new Serializer());
    }

    @Override
    public void setupModule(SetupContext context) {
        super.setupModule(context);
        // Jackson then asks `isEmpty`.
        context.configOverride(JsonNullable.class).setIncludeAsProperty(Value.construct(Include.NON_EMPTY, Include.ALWAYS));
    }

    private static final class Serializer extends StdSerializer<JsonNullable<?>> {
        Serializer() {
            super(JsonNullable.class, false);
        }

        @Override
        public boolean isEmpty(SerializerProvider provider, JsonNullable<?> field) {
            return !field.isPresent();
        }

        @Override
        public void serialize(JsonNullable<?> field, JsonGenerator json, SerializerProvider provider) throws IOException {
            provider.defaultSerializeValue(field.get(), json);
        }
    }
}
