#!/bin/sh
# simple-oauth2 fails if a successful revocation has no body.
#
# An authorization server confirms a revocation with status 200, and a client ignores the body (RFC 7009, section 2.2).
# Two clients revoke the same token at a server that sends an empty body, and at one that sends an empty JSON object.
#
# Guess: both clients take both responses. Seen on 2026-11-30 with simple-oauth2 5.1.0 and oauth4webapi 3.8.8:
#
#   empty body  simple-oauth2: Error: The content-type is not JSON compatible
#   empty body  oauth4webapi: revoked
#   {}          simple-oauth2: revoked
#   {}          oauth4webapi: revoked
#
# The token is revoked all the same, but the program takes it for still valid. mintkey sends `{}`.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --no-audit --no-fund simple-oauth2@5.1.0 oauth4webapi@3.8.8 >log 2>&1 || { cat log >&2 && exit 2; }

cat >try.mjs <<'JS'
import { createServer } from 'node:http';
import { ClientCredentials } from 'simple-oauth2';
import * as oauth from 'oauth4webapi';

for (const [name, body, headers] of [
  ['empty body', '', {}],
  ['{}        ', '{}', { 'content-type': 'application/json' }],
]) {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(200, headers).end(body);
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  const host = `http://127.0.0.1:${server.address().port}`;
  const show = async (client, revocation) =>
    console.log(`${name}  ${client}: ${await revocation.then(() => 'revoked', String)}`);

  const client = new ClientCredentials({ client: { id: 'client', secret: 'secret' }, auth: { tokenHost: host } });
  const token = client.createToken({ access_token: 'token', token_type: 'bearer', expires_in: 60 });
  await show('simple-oauth2', token.revoke('access_token'));

  const metadata = { issuer: host, revocation_endpoint: `${host}/revoke` };
  const options = { [oauth.allowInsecureRequests]: true };
  const secret = oauth.ClientSecretPost('secret');
  const request = oauth.revocationRequest(metadata, { client_id: 'client' }, secret, 'token', options);
  await show('oauth4webapi', request.then(oauth.processRevocationResponse));
  server.close();
}
JS
timeout 60 node try.mjs >seen 2>log || { cat log >&2 && exit 2; }
cat seen
cat >expected <<'EXPECTED'
empty body  simple-oauth2: Error: The content-type is not JSON compatible
empty body  oauth4webapi: revoked
{}          simple-oauth2: revoked
{}          oauth4webapi: revoked
EXPECTED
cmp -s seen expected || exit 1
