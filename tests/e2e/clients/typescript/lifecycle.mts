// The life of a key, with types by openapi-typescript and calls by openapi-fetch: base URL and token are the arguments.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./mintkey.d.mts";

type Problem = components["schemas"]["ProblemDetail"];

const [baseUrl, token] = process.argv.slice(2);
assert(baseUrl && token);

const connect = (credential: string) =>
  createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${credential}` } });
const mintkey = connect(token);

/** Returns the result of a call, or throws its problem. */
function ok<T>(result: { data?: T; error?: Problem; response: Response }): T {
  if (result.error) throw new Error(`${result.error.status} ${result.error.detail} (${result.error.request_id})`);
  return result.data as T;
}

function problem(result: { data?: unknown; error?: Problem; response: Response }, status: number): Problem {
  assert(result.error, `no problem: ${result.response.status}`);
  assert.equal(result.error.status, status);
  assert.equal(result.response.headers.get("x-request-id"), result.error.request_id);
  return result.error;
}

// Create: only this response and that of a rotation contain the secret. The same request twice creates one key.
const params = { header: { "Idempotency-Key": crypto.randomUUID() } };
const create = () =>
  mintkey.POST("/auth/api-keys/", {
    params,
    body: { name: "ci", scopes: ["projects:read"], metadata: { team: "billing" }, expires_in_seconds: 3600 },
  });
const created = ok(await create());
const replayed = await create();
assert.equal(ok(replayed).key, created.key);
assert.equal(replayed.response.headers.get("idempotency-replayed"), "true");
const path = { id: created.id };
const second = ok(await mintkey.POST("/auth/api-keys/", { body: { name: "second" } }));

// List, a key a page.
const names: string[] = [];
for (let cursor: string | undefined, more = true; more; more = cursor !== undefined) {
  const page = ok(
    await mintkey.GET("/auth/api-keys/", { params: { query: { limit: 1, ...(cursor && { cursor }) } } }),
  );
  names.push(...page.items.map((key) => key.name));
  cursor = page.next_cursor;
}
assert.deepEqual(names, ["second", "ci"]);

// Update, unless the key was changed in between.
const got = await mintkey.GET("/auth/api-keys/{id}", { params: { path } });
assert.equal(ok(got).status, "active");
const asRead = { path, header: { "If-Match": got.response.headers.get("etag") ?? "" } };
const updated = ok(
  await mintkey.PATCH("/auth/api-keys/{id}", { params: asRead, body: { name: "deploy", expires_at: null } }),
);
assert.equal(updated.name, "deploy");
assert.equal(updated.expires_at, undefined);
const stale = await mintkey.PATCH("/auth/api-keys/{id}", { params: asRead, body: { name: "lost" } });
problem(stale, 412);

// Rotate: both secrets are good for a while, and a second rotation waits until then.
const rotated = ok(
  await mintkey.POST("/auth/api-keys/{id}/rotate", { params: { path }, body: { grace_seconds: 3600 } }),
);
const again = await mintkey.POST("/auth/api-keys/{id}/rotate", { params: { path } });
assert.equal(problem(again, 409).type, "urn:mintkey:problem:rotation-in-progress");

// Rotate without a body, and retry: the same Idempotency-Key returns the same secret.
const retried = { params: { path: { id: second.id }, header: { "Idempotency-Key": crypto.randomUUID() } } };
const firstTry = ok(await mintkey.POST("/auth/api-keys/{id}/rotate", retried));
assert.equal(ok(await mintkey.POST("/auth/api-keys/{id}/rotate", retried)).key, firstTry.key);

// Verify, as a gateway does.
const verify = async (key: string, scopes: string[] = []) =>
  ok(await mintkey.POST("/auth/api-keys/verify", { body: { key, scopes } }));
const verdict = await verify(rotated.key, ["projects:read"]);
assert(verdict.valid && verdict.owner?.subject === "alice" && verdict.metadata?.["team"] === "billing");
assert.equal((await verify(created.key)).code, "VALID");
assert.equal((await verify(created.key, ["projects:write"])).code, "INSUFFICIENT_SCOPE");
assert.equal((await verify("mk_nonsense")).code, "NOT_FOUND");

// Usage, day by day, up to a minute behind.
const usage = ok(await mintkey.GET("/auth/api-keys/{id}/usage", { params: { path } }));
assert.match(usage.to, /^\d{4}-\d{2}-\d{2}$/);

// Revoke permanently.
const revoked = ok(await mintkey.POST("/auth/api-keys/{id}/revoke", { params: { path }, body: { reason: "leaked" } }));
assert.equal(revoked.revoke_reason, "leaked");
assert.equal((await verify(rotated.key)).code, "REVOKED");

// Delete.
const other = { params: { path: { id: second.id } } };
ok(await mintkey.DELETE("/auth/api-keys/{id}", other));
problem(await mintkey.GET("/auth/api-keys/{id}", other), 404);

// Audit.
const events = ok(await mintkey.GET("/auth/audit-events", { params: { query: { key_id: created.id } } }));
assert.deepEqual(events.items.map((event) => event.action), ["revoked", "rotated", "updated", "created"]);

// Problems say what to change.
problem(await connect("not-a-token").GET("/auth/api-keys/"), 401);
const unnamed = problem(await mintkey.POST("/auth/api-keys/", { body: { name: "" } }), 422);
assert.equal(unnamed.errors?.[0]?.pointer, "/name");
