// The life of a key, with a client by openapi-generator (java, native): base URL and token are the arguments.

import java.time.OffsetDateTime;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.UUID;
import mintkey.ApiClient;
import mintkey.ApiException;
import mintkey.ApiResponse;
import mintkey.api.ApiKeysApi;
import mintkey.api.AuditApi;
import mintkey.api.VerificationApi;
import mintkey.model.*;

public final class Lifecycle {
    interface Call {
        void run() throws ApiException;
    }

    /** A client that sends this credential. */
    static ApiClient connect(String baseUrl, String credential) {
        ApiClient client = new ApiClient();
        client.updateBaseUri(baseUrl);
        client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + credential));
        return client;
    }

    /** What the service has against a request. */
    static ProblemDetail problem(int status, Call call) throws Exception {
        try {
            call.run();
        } catch (ApiException refused) {
            check(refused.getCode() == status, refused);
            ProblemDetail problem = ApiClient.createDefaultObjectMapper()
                    .readValue(refused.getResponseBody(), ProblemDetail.class);
            check(problem.getStatus() == status, problem);
            check(refused.getResponseHeaders().firstValue("x-request-id").get().equals(problem.getRequestId()), problem);
            return problem;
        }
        throw new AssertionError("not refused");
    }

    static void check(boolean holds, Object otherwise) {
        if (!holds) throw new AssertionError(otherwise);
    }

    static void equal(Object found, Object expected) {
        check(Objects.equals(found, expected), found + " instead of " + expected);
    }

    static ApiKeyVerifyResponse verify(ApiClient client, String key, String... scopes) throws ApiException {
        return new VerificationApi(client).verifyApiKey(new ApiKeyVerifyRequest().key(key).scopes(Set.of(scopes)));
    }

    public static void main(String[] arguments) throws Exception {
        ApiClient client = connect(arguments[0], arguments[1]);
        ApiKeysApi keys = new ApiKeysApi(client);

        // Create: only this response and that of a rotation contain the secret. The same request twice creates one key.
        ApiKeyCreateRequest request = new ApiKeyCreateRequest()
                .name("ci")
                .scopes(Set.of("projects:read"))
                .metadata(Map.of("team", "billing"))
                .expiresInSeconds(3600L);
        String idempotencyKey = UUID.randomUUID().toString();
        ApiKeyCreateResponse created = keys.createMyApiKey(request, idempotencyKey);
        ApiResponse<ApiKeyCreateResponse> replayed = keys.createMyApiKeyWithHttpInfo(request, idempotencyKey);
        equal(replayed.getData().getKey(), created.getKey());
        equal(replayed.getHeaders().get("idempotency-replayed"), List.of("true"));
        OffsetDateTime tomorrow = OffsetDateTime.now().plusDays(1).truncatedTo(ChronoUnit.MICROS);
        ApiKeyCreateResponse second = keys.createMyApiKey(new ApiKeyCreateRequest().name("zwölf 🔑").expiresAt(tomorrow), null);
        check(second.getExpiresAt().isEqual(tomorrow), second);

        // List, a key a page.
        List<String> names = new ArrayList<>();
        String cursor = null;
        do {
            ApiKeyList page = keys.listMyApiKeys(1, cursor, null, null, null);
            for (ApiKey key : page.getItems()) names.add(key.getName());
            cursor = page.getNextCursor();
        } while (cursor != null);
        equal(names, List.of("zwölf 🔑", "ci"));

        // Update, unless the key was changed in between.
        UUID id = created.getId();
        ApiResponse<ApiKey> got = keys.getMyApiKeyWithHttpInfo(id, null);
        equal(got.getData().getStatus(), Status.ACTIVE);
        String etag = got.getHeaders().get("etag").get(0);
        ApiKey updated = keys.updateMyApiKey(id, new ApiKeyUpdateRequest().name("deploy").expiresAt(null), etag);
        equal(updated.getName(), "deploy");
        equal(updated.getExpiresAt(), null);
        equal(updated.getScopes(), Set.of("projects:read"));
        problem(412, () -> keys.updateMyApiKey(id, new ApiKeyUpdateRequest().name("lost"), etag));

        // Rotate: both secrets are good for a while, and a second rotation waits until then.
        ApiKeyCreateResponse rotated = keys.rotateMyApiKey(id, null, null, new ApiKeyRotateRequest().graceSeconds(3600));
        ProblemDetail conflict = problem(409, () -> keys.rotateMyApiKey(id, null, null, null));
        equal(conflict.getType(), "urn:mintkey:problem:rotation-in-progress");
        check(!keys.rotateMyApiKey(second.getId(), null, null, null).getKey().equals(second.getKey()), second);

        // Verify, as a gateway does.
        ApiKeyVerifyResponse verdict = verify(client, rotated.getKey(), "projects:read");
        check(verdict.getValid() && verdict.getOwner().getSubject().equals("alice"), verdict);
        equal(verdict.getMetadata(), Map.of("team", "billing"));
        equal(verify(client, created.getKey()).getCode(), VerificationCode.CodeValid);
        equal(verify(client, created.getKey(), "projects:write").getCode(), VerificationCode.CodeInsufficientScope);
        equal(verify(client, "mk_nonsense").getCode(), VerificationCode.CodeNotFound);

        // Usage, day by day, up to a minute behind.
        ApiKeyUsage usage = keys.getMyApiKeyUsage(id, null, null);
        equal(ChronoUnit.DAYS.between(usage.getFrom(), usage.getTo()), 29L);

        // Revoke permanently.
        ApiKey revoked = keys.revokeMyApiKey(id, null, new ApiKeyRevokeRequest().reason("leaked"));
        equal(revoked.getRevokeReason(), "leaked");
        equal(verify(client, rotated.getKey()).getCode(), VerificationCode.CodeRevoked);

        // Delete.
        keys.deleteMyApiKey(second.getId(), null, null);
        problem(404, () -> keys.getMyApiKey(second.getId(), null));

        // Audit.
        AuditEventList events = new AuditApi(client).listMyAuditEvents(null, null, id, null, null);
        equal(events.getItems().stream().map(AuditEvent::getAction).toList(), List.of("revoked", "rotated", "updated", "created"));

        // Problems say what to change.
        ApiKeysApi stranger = new ApiKeysApi(connect(arguments[0], "not-a-token"));
        problem(401, () -> stranger.listMyApiKeys(null, null, null, null, null));
        ProblemDetail unnamed = problem(422, () -> keys.createMyApiKey(new ApiKeyCreateRequest().name(""), null));
        equal(unnamed.getErrors().get(0).getPointer(), "/name");
    }
}
