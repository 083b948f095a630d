// Functions that call the service through `send`, and zod schemas of what they take and return.
const input = "openapi.yaml";
const override = { mutator: { path: "connection.ts", name: "send" } };
export default {
  client: { input, output: { target: "mintkey/client.ts", client: "fetch", headers: true, override } },
  schemas: { input, output: { target: "mintkey/schemas.ts", client: "zod" } },
};
