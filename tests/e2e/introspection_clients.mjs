// Introspects and revokes keys with oauth4webapi, by each of its ways to authenticate the client.
import assert from 'node:assert/strict';
import * as oauth from 'oauth4webapi';

const [url, gateway, ...keys] = process.argv.slice(2);
const server = {
  issuer: url,
  introspection_endpoint: `${url}/api/oauth/introspect`,
  revocation_endpoint: `${url}/api/oauth/revoke`,
};
const client = { client_id: 'a gateway: %' };
const options = { [oauth.allowInsecureRequests]: true };

async function introspect(authentication, token) {
  const response = await oauth.introspectionRequest(server, client, authentication, token, options);
  return oauth.processIntrospectionResponse(server, client, response);
}

async function revoke(authentication, token) {
  const response = await oauth.revocationRequest(server, client, authentication, token, options);
  return oauth.processRevocationResponse(response);
}

const ways = [oauth.ClientSecretBasic(gateway), oauth.ClientSecretPost(gateway)];
for (const [index, authentication] of ways.entries()) {
  const active = await introspect(authentication, keys[index]);
  assert.deepEqual([active.active, active.sub, active.scope], [true, 'alice', 'projects:read']);
  for (const token of [keys[index], keys[index], 'unknown']) {
    await revoke(authentication, token);
    assert.deepEqual(await introspect(authentication, token), { active: false });
  }
}
// A public client revokes what it holds.
await revoke(oauth.None(), keys[2]);
assert.deepEqual(await introspect(ways[0], keys[2]), { active: false });

for (const wrong of [oauth.ClientSecretBasic('wrong'), oauth.ClientSecretPost('wrong')]) {
  for (const request of [introspect, revoke]) {
    await assert.rejects(request(wrong, keys[0]), (error) => {
      assert.ok(error instanceof oauth.WWWAuthenticateChallengeError, String(error));
      assert.deepEqual(error.cause.map(({ scheme }) => scheme), ['bearer', 'basic']);
      return true;
    });
  }
}
await assert.rejects(revoke(ways[0], 'a.b.c'), { name: 'ResponseBodyError', error: 'unsupported_token_type' });
await assert.rejects(introspect(ways[0], ''), TypeError);
console.log('done');
