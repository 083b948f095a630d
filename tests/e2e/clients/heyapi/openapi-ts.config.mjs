// Types, functions, and zod schemas that check each request before it is sent and each response before it is returned.
export default {
  input: "openapi.yaml",
  output: { path: "mintkey", module: { extension: ".js" } },
  plugins: ["@hey-api/typescript", "@hey-api/client-fetch", "zod", { name: "@hey-api/sdk", validator: "zod" }],
};
