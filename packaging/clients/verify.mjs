// Verifies an API key: node verify.mjs KEY. Needs Node 18 or later.

const url = `${process.env.MINTKEY_URL}/api/auth/api-keys/verify`;
const headers = { Authorization: `Bearer ${process.env.GATEWAY_KEY}`, "Content-Type": "application/json" };
const body = JSON.stringify({ key: process.argv[2], scopes: ["projects:read"] });
const response = await fetch(url, { method: "POST", headers, body, signal: AbortSignal.timeout(5000) });
if (!response.ok) throw new Error(`access denied: ${await response.text()}`); // Any error denies access.
console.log((await response.json()).code);
