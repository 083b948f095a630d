// better-auth with its plugin for an OAuth provider. Access tokens are JWTs only for a `resource`.
import { createServer } from 'node:http';
import { betterAuth } from 'better-auth';
import { memoryAdapter } from 'better-auth/adapters/memory';
import { toNodeHandler } from 'better-auth/node';
import { jwt } from 'better-auth/plugins';
import { oauthProvider } from '@better-auth/oauth-provider';

export async function start({ port, redirects, scopes, audiences, user }) {
  const server = createServer((request, response) => handler(request, response));
  await new Promise((listening) => server.listen(port, '127.0.0.1', listening));
  const origin = `http://127.0.0.1:${port}`;
  const models = ['user', 'session', 'account', 'verification', 'jwks', 'oauthClient', 'oauthResource',
    'oauthClientResource', 'oauthRefreshToken', 'oauthAccessToken', 'oauthConsent', 'oauthClientAssertion'];
  const auth = betterAuth({
    baseURL: origin,
    secret: 'a secret of a test, of 32 characters',
    database: memoryAdapter(Object.fromEntries(models.map((model) => [model, []]))),
    emailAndPassword: { enabled: true },
    disabledPaths: ['/token'],
    plugins: [jwt(), oauthProvider({
      loginPage: '/sign-in',
      consentPage: '/consent',
      scopes,
      resources: audiences,
      enforcePerClientResources: false,
      silenceWarnings: { oauthAuthServerConfig: true, openidConfig: true },
    })],
  });
  const handler = toNodeHandler(auth);
  // Makes the signing key, which the first requests would otherwise make at the same time.
  await auth.api.getJwks();
  // The signed-in user registers the client. A web client's redirects would have to be https, so it is a native one.
  const signedUp = await auth.api.signUpEmail({ body: user, returnHeaders: true });
  const { client_id } = await auth.api.createOAuthClient({
    headers: new Headers({ cookie: signedUp.headers.get('set-cookie') }),
    body: {
      redirect_uris: redirects,
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      scope: scopes.join(' '),
    },
  });

  // Each step's response has the parameters of the next, signed.
  async function login(browser, url) {
    const query = (text) => new URL(text, origin).search.slice(1);
    const page = await browser.open(url);
    const signedIn = await browser.sendJson('POST', `${origin}/api/auth/sign-in/email`, {
      email: user.email, password: user.password, oauth_query: query(page.url),
    });
    const consented = await browser.sendJson('POST', `${origin}/api/auth/oauth2/consent`, {
      accept: true, oauth_query: query(signedIn.url),
    });
    return consented.url;
  }
  return { issuer: `${origin}/api/auth`, parameters: (audience) => ({ client_id, resource: audience }), login };
}
