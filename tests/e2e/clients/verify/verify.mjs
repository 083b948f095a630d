const body = JSON.stringify({ key: process.argv[2], scopes: ["projects:read"] });
const headers = { Authorization: `Bearer ${process.env.GATEWAY_KEY}`, "Content-Type": "application/json" };
const request = { method: "POST", headers, body, signal: AbortSignal.timeout(5000) };
const answer = await fetch(`${process.env.MINTKEY_URL}/api/auth/api-keys/verify`, request);
if (!answer.ok) throw new Error(`not an answer, so nobody is let in: ${await answer.text()}`);
console.log((await answer.json()).code);
