// better-auth's API-key plugin behind Node's own HTTP server: its verify is a function for servers, without a route.
import { createServer } from "node:http";
import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import Database from "better-sqlite3";

const database = new Database(process.env.DATABASE);
database.pragma("journal_mode = WAL");
database.pragma("synchronous = FULL");

const auth = betterAuth({
  baseURL: "http://127.0.0.1",
  secret: "only-for-the-bench-only-for-the-bench",
  database,
  emailAndPassword: { enabled: true },
  telemetry: { enabled: false },
  // Ten verifies a day is the default.
  plugins: [apiKey({ rateLimit: { enabled: false } })],
});
await (await getMigrations(auth.options)).runMigrations();
const { user } = await auth.api.signUpEmail({
  body: { name: "alice", email: "alice@example.com", password: "only for the bench" },
});

async function handle(path, body) {
  if (path === "/verify") {
    const { valid, key } = await auth.api.verifyApiKey({ body: { key: body.key } });
    return [200, valid ? { valid, id: key.id, name: key.name, owner: key.referenceId } : { valid }];
  }
  const { id, key, name } = await auth.api.createApiKey({ body: { name: body.name, userId: user.id } });
  return [201, { id, key, name }];
}

createServer(async (request, response) => {
  let text = "";
  for await (const part of request) text += part;
  const [status, body] = await handle(request.url, JSON.parse(text));
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
}).listen(Number(process.env.PORT), "127.0.0.1");
