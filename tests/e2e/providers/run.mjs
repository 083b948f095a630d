// Runs a real provider until the test that started it ends, with files of its own in a temporary directory. On a second
// port it takes the action `sign-in`: a user signs in with authorization code and PKCE, by the client of oauth4webapi.
//
// `<name>/provider.mjs` exports `start(setup)`, which starts the provider and registers the user and a public client.
// It returns `issuer`; `parameters(audience)`, which a client sends to get a token for an audience; and
// `login(browser, url)`, which submits the provider's own form and consent, and returns the URL of the callback.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as oauth from 'oauth4webapi';
import { Browser } from './browser.mjs';

const CALLBACK = 'http://127.0.0.1:9/callback';
const SCOPES = ['openid', 'projects:read'];
const insecure = { [oauth.allowInsecureRequests]: true };

// `docs` is the address of mintkey, whose page `/docs` is allowed to sign in.
const [name, port, docs] = process.argv.slice(2);
const directory = mkdtempSync(join(tmpdir(), `mintkey-${name}-`));
const servers = [];
process.on('exit', () => {
  for (const server of servers) server.kill();
  rmSync(directory, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
// It ends with the test that started it.
process.stdin.resume().on('end', () => process.exit());

const { start } = await import(`./${name}/provider.mjs`);
const provider = await start({
  directory,
  port: Number(port),
  servers,
  redirects: [CALLBACK, `${docs}/docs/login-callback`],
  scopes: SCOPES,
  audiences: ['https://api.example.com', 'https://other.example.com'],
  user: { name: 'alice', email: 'alice@example.com', password: 'correct horse battery' },
});

// Returns the response of the token endpoint, after checking it and its ID token.
async function signIn({ audience }) {
  const issuer = new URL(provider.issuer);
  const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure));
  const { client_id, ...parameters } = provider.parameters(audience);
  const client = { client_id };
  const verifier = oauth.generateRandomCodeVerifier();
  const request = new URL(server.authorization_endpoint);
  request.search = new URLSearchParams({
    client_id,
    ...parameters,
    response_type: 'code',
    redirect_uri: CALLBACK,
    scope: SCOPES.join(' '),
    state: 'state',
    nonce: 'nonce',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  });
  const callback = await provider.login(new Browser(CALLBACK), request.href);
  const response = await oauth.authorizationCodeGrantRequest(
    server, client, oauth.None(), oauth.validateAuthResponse(server, client, new URL(callback), 'state'), CALLBACK,
    verifier, { ...insecure, additionalParameters: parameters },
  );
  return oauth.processAuthorizationCodeResponse(server, client, response, { expectedNonce: 'nonce' });
}

const control = createServer(async (request, response) => {
  const result = await signIn(JSON.parse((await request.toArray()).join(''))).catch((error) => {
    console.error(name, error);
    return { error: `${error}` };
  });
  response.end(JSON.stringify(result));
});
control.listen(0, '127.0.0.1', () => console.log(JSON.stringify({
  issuer: provider.issuer, control: `http://127.0.0.1:${control.address().port}`,
})));
