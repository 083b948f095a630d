// The life of a key, with a client by orval and checks by zod: base URL and token are the arguments.

import assert from "node:assert/strict";
import {
  createMyApiKey,
  deleteMyApiKey,
  getMyApiKey,
  getMyApiKeyUsage,
  listMyApiKeys,
  listMyAuditEvents,
  revokeMyApiKey,
  rotateMyApiKey,
  updateMyApiKey,
  verifyApiKey,
} from "./mintkey/client.js";
import type { ProblemDetail } from "./mintkey/client.js";
import { CreateMyApiKeyBody, CreateMyApiKeyResponse, GetMyApiKeyResponse, VerifyApiKeyResponse } from "./mintkey/schemas.js";

type Result = { status: number; data: unknown; headers: Headers };
type Success<R extends Result> = Extract<R, { status: 200 | 201 | 204 }>;

/** Returns the result of a call, or throws its problem. */
function ok<R extends Result>(result: R): Success<R>["data"] {
  if (result.status >= 300) throw new Error(JSON.stringify(result.data));
  return (result as Success<R>).data;
}

function problem(result: Result, status: number): ProblemDetail {
  const problem = result.data as ProblemDetail;
  assert.equal(result.status, status, JSON.stringify(problem));
  assert.equal(problem.status, status);
  assert.equal(result.headers.get("x-request-id"), problem.request_id);
  return problem;
}

// Create: only this response and that of a rotation contain the secret. The same request twice creates one key.
const request = CreateMyApiKeyBody.parse({
  name: "ci",
  scopes: ["projects:read"],
  metadata: { team: "billing" },
  expires_in_seconds: 3600,
});
const idempotency = { "Idempotency-Key": crypto.randomUUID() };
const created = CreateMyApiKeyResponse.parse(ok(await createMyApiKey(request, idempotency)));
const replayed = await createMyApiKey(request, idempotency);
assert.equal(ok(replayed).key, created.key);
assert.equal(replayed.headers.get("idempotency-replayed"), "true");
const tomorrow = new Date(Date.now() + 86_400_000).toISOString();
const second = ok(await createMyApiKey(CreateMyApiKeyBody.parse({ name: "zwölf 🔑", expires_at: tomorrow })));

// List, a key a page.
const names: string[] = [];
for (let cursor: string | undefined, more = true; more; more = cursor !== undefined) {
  const page = ok(await listMyApiKeys({ limit: 1, ...(cursor && { cursor }) }));
  names.push(...page.items.map((key) => key.name));
  cursor = page.next_cursor;
}
assert.deepEqual(names, ["zwölf 🔑", "ci"]);

// Update, unless the key was changed in between.
const got = await getMyApiKey(created.id);
assert.equal(GetMyApiKeyResponse.parse(ok(got)).status, "active");
const asRead = { "If-Match": got.headers.get("etag") ?? "" };
const updated = ok(await updateMyApiKey(created.id, { name: "deploy", expires_at: null }, asRead));
assert.equal(updated.name, "deploy");
assert.equal(updated.expires_at, undefined);
problem(await updateMyApiKey(created.id, { name: "lost" }, asRead), 412);

// Rotate: both secrets are good for a while, and a second rotation waits until then.
const rotated = ok(await rotateMyApiKey(created.id, { grace_seconds: 3600 }));
const again = await rotateMyApiKey(created.id);
assert.equal(problem(again, 409).type, "urn:mintkey:problem:rotation-in-progress");
assert.notEqual(ok(await rotateMyApiKey(second.id)).key, second.key);

// Verify, as a gateway does.
const verify = async (key: string, scopes: string[] = []) =>
  VerifyApiKeyResponse.parse(ok(await verifyApiKey({ key, scopes })));
const verdict = await verify(rotated.key, ["projects:read"]);
assert(verdict.valid && verdict.owner?.subject === "alice" && verdict.metadata?.["team"] === "billing");
assert.equal((await verify(created.key)).code, "VALID");
assert.equal((await verify(created.key, ["projects:write"])).code, "INSUFFICIENT_SCOPE");
assert.equal((await verify("mk_nonsense")).code, "NOT_FOUND");

// Usage, day by day, up to a minute behind.
const usage = ok(await getMyApiKeyUsage(created.id));
assert.match(usage.to, /^\d{4}-\d{2}-\d{2}$/);

// Revoke permanently.
const revoked = ok(await revokeMyApiKey(created.id, { reason: "leaked" }));
assert.equal(revoked.revoke_reason, "leaked");
assert.equal((await verify(rotated.key)).code, "REVOKED");

// Delete.
ok(await deleteMyApiKey(second.id));
problem(await getMyApiKey(second.id), 404);

// Audit.
const events = ok(await listMyAuditEvents({ key_id: created.id }));
assert.deepEqual(events.items.map((event) => event.action), ["revoked", "rotated", "updated", "created"]);

// Problems say what to change. The schemas find some before a request is sent.
problem(await listMyApiKeys({}, { headers: { Authorization: "Bearer not-a-token" } }), 401);
assert.equal(CreateMyApiKeyBody.safeParse({ name: "" }).success, false);
assert.equal(problem(await createMyApiKey({ name: "" }), 422).errors?.[0]?.pointer, "/name");
