// The life of a key, with a client by hey-api and checks by zod: base URL and token are the arguments.

import assert from "node:assert/strict";
import { ZodError } from "zod";
import { createClient } from "./mintkey/client/index.js";
import type { ProblemDetail } from "./mintkey/index.js";
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
} from "./mintkey/index.js";

const [baseUrl, token] = process.argv.slice(2);
assert(baseUrl && token);

const connect = (credential: string) => createClient({ baseUrl, auth: credential });
const client = connect(token);

type Result<T> = { data: T | undefined; error: unknown; response?: Response };

/** Returns the result of a call, or throws its problem. A value that breaks the schema is a ZodError. */
function ok<T>({ data, error }: Result<T>): T {
  if (error !== undefined) throw error instanceof Error ? error : new Error(JSON.stringify(error));
  return data as T;
}

function problem({ error, response }: Result<unknown>, status: number): ProblemDetail {
  const problem = error as ProblemDetail;
  assert.equal(response?.status, status, JSON.stringify(error));
  assert.equal(problem.status, status);
  assert.equal(response.headers.get("x-request-id"), problem.request_id);
  return problem;
}

// Create: only this response and that of a rotation contain the secret. The same request twice creates one key.
const create = () =>
  createMyApiKey({
    client,
    headers: { "Idempotency-Key": idempotencyKey },
    body: { name: "ci", scopes: ["projects:read"], metadata: { team: "billing" }, expires_in_seconds: 3600 },
  });
const idempotencyKey = crypto.randomUUID();
const created = ok(await create());
const replayed = await create();
assert.equal(ok(replayed).key, created.key);
assert.equal(replayed.response?.headers.get("idempotency-replayed"), "true");
const path = { id: created.id };
const tomorrow = new Date(Date.now() + 86_400_000).toISOString();
const second = ok(await createMyApiKey({ client, body: { name: "zweiter Schlüssel 🔑", expires_at: tomorrow } }));

// List, a key a page.
const names: string[] = [];
for (let cursor: string | undefined, more = true; more; more = cursor !== undefined) {
  const page = ok(await listMyApiKeys({ client, query: { limit: 1, ...(cursor && { cursor }) } }));
  names.push(...page.items.map((key) => key.name));
  cursor = page.next_cursor;
}
assert.deepEqual(names, ["zweiter Schlüssel 🔑", "ci"]);

// Update, unless the key was changed in between.
const got = await getMyApiKey({ client, path });
assert.equal(ok(got).status, "active");
const headers = { "If-Match": got.response?.headers.get("etag") ?? "" };
const updated = ok(await updateMyApiKey({ client, path, headers, body: { name: "deploy", expires_at: null } }));
assert.equal(updated.name, "deploy");
assert.equal(updated.expires_at, undefined);
problem(await updateMyApiKey({ client, path, headers, body: { name: "lost" } }), 412);

// Rotate: both secrets are good for a while, and a second rotation waits until then.
const rotated = ok(await rotateMyApiKey({ client, path, body: { grace_seconds: 3600 } }));
const again = await rotateMyApiKey({ client, path });
assert.equal(problem(again, 409).type, "urn:mintkey:problem:rotation-in-progress");
assert.notEqual(ok(await rotateMyApiKey({ client, path: { id: second.id } })).key, second.key);

// Verify, as a gateway does.
const verify = async (key: string, scopes: string[] = []) => ok(await verifyApiKey({ client, body: { key, scopes } }));
const verdict = await verify(rotated.key, ["projects:read"]);
assert(verdict.valid && verdict.owner?.subject === "alice" && verdict.metadata?.["team"] === "billing");
assert.equal((await verify(created.key)).code, "VALID");
assert.equal((await verify(created.key, ["projects:write"])).code, "INSUFFICIENT_SCOPE");
assert.equal((await verify("mk_nonsense")).code, "NOT_FOUND");

// Usage, day by day, up to a minute behind.
const usage = ok(await getMyApiKeyUsage({ client, path }));
assert.match(usage.to, /^\d{4}-\d{2}-\d{2}$/);

// Revoke permanently.
const revoked = ok(await revokeMyApiKey({ client, path, body: { reason: "leaked" } }));
assert.equal(revoked.revoke_reason, "leaked");
assert.equal((await verify(rotated.key)).code, "REVOKED");

// Delete.
const gone = { client, path: { id: second.id } };
ok(await deleteMyApiKey(gone));
problem(await getMyApiKey(gone), 404);

// Audit.
const events = ok(await listMyAuditEvents({ client, query: { key_id: created.id } }));
assert.deepEqual(events.items.map((event) => event.action), ["revoked", "rotated", "updated", "created"]);

// Problems say what to change. What breaks a schema does not even leave this client.
problem(await listMyApiKeys({ client: connect("not-a-token") }), 401);
const unnamed = await createMyApiKey({ client, body: { name: "" } });
assert(unnamed.error instanceof ZodError && unnamed.response === undefined);
const twice = await createMyApiKey({ client, body: { name: "two", expires_at: tomorrow, expires_in_seconds: 60 } });
assert.equal(problem(twice, 422).errors?.[0]?.pointer, "/expires_in_seconds");
