package org.openapitools.jackson.nullable;

import java.util.NoSuchElementException;

/**
 * A field that is absent, null or a value. Stands in for the one of org.openapitools:jackson-databind-nullable, which
 * only Maven Central has, as far as a request needs it.
 */
public final class JsonNullable<T> {
    private final T value;
    private final boolean present;

    private JsonNullable(T value, boolean present) {
        this.value = value;
        this.present = present;
    }

    public static <T> JsonNullable<T> undefined() {
        return new JsonNullable<>(null, false);
    }

    public static <T> JsonNullable<T> of(T value) {
        return new JsonNullable<>(value, true);
    }

    public boolean isPresent() {
        return present;
    }

    public T get() {
        if (!present) throw new NoSuchElementException("undefined");
        return value;
    }

    public T orElse(T other) {
        return present ? value : other;
    }
}
