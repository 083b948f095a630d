// Glewlwyd of Debian with its plugin for OpenID Connect, set up through its administration API.
import { execFileSync, spawn } from 'node:child_process';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Browser } from '../browser.mjs';
import { listening } from '../server.mjs';

const SCHEMA = '/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3';
const CLIENT = 'mintkey-docs';

// A key of which one coordinate begins with a zero byte, which Glewlwyd leaves out in its JWKS.
function keyWithShortCoordinate() {
  for (;;) {
    const keys = generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    });
    const { x, y } = createPublicKey(keys.publicKey).export({ format: 'jwk' });
    // In base64url, the first byte and two bits of the next.
    if (/^A[A-P]/.test(x) || /^A[A-P]/.test(y)) return keys;
  }
}

export async function start({ directory, port, servers, redirects, scopes, audiences, user }) {
  const origin = `http://127.0.0.1:${port}`;
  const database = join(directory, 'glewlwyd.db');
  execFileSync('sqlite3', [database], { input: readFileSync(SCHEMA) });
  const configuration = join(directory, 'glewlwyd.conf');
  writeFileSync(configuration, `
    port=${port}
    bind_address="127.0.0.1"
    external_url="${origin}"
    login_url="login.html"
    api_prefix="api"
    static_files_path="/usr/share/glewlwyd/webapp/"
    allow_origin="*"
    allow_methods="GET, POST, PUT, DELETE, OPTIONS"
    allow_headers="Origin, X-Requested-With, Content-Type, Accept, Authorization"
    log_mode="console"
    log_level="WARNING"
    cookie_secure=false
    session_key="GLEWLWYD2_SESSION_ID"
    admin_session_authentication="cookie"
    profile_session_authentication="cookie"
    login_api_enabled=true
    admin_scope="g_admin"
    profile_scope="g_profile"
    user_module_path="/usr/lib/glewlwyd/user"
    client_module_path="/usr/lib/glewlwyd/client"
    user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
    plugin_module_path="/usr/lib/glewlwyd/plugin"
    use_secure_connection=false
    secure_connection_key_file="none"
    secure_connection_pem_file="none"
    hash_algorithm="SHA512"
    database = { type="sqlite3"; path="${database}"; };
  `);
  const server = spawn('glewlwyd', ['--config-file', configuration], { stdio: ['ignore', 2, 2] });
  servers.push(server);
  await listening(server, port);

  const administrator = new Browser();
  const set = (path, body) => administrator.sendJson('POST', `${origin}/api/${path}`, body);
  await set('auth/', { username: 'admin', password: 'password' });
  for (const name of scopes.filter((name) => name !== 'openid')) await set('scope/', { name, display_name: name });
  await set('user/', { username: user.name, name: user.name, email: user.email, password: user.password, scope: scopes });
  const { privateKey, publicKey } = keyWithShortCoordinate();
  await set('mod/plugin/', {
    module: 'oidc',
    name: 'oidc',
    display_name: 'OpenID Connect',
    parameters: {
      iss: `${origin}/api/oidc`,
      'jwt-type': 'ecdsa',
      'jwt-key-size': '256',
      key: privateKey,
      cert: publicKey,
      'jwks-show': true,
      'access-token-duration': 600,
      'refresh-token-duration': 3600,
      'code-duration': 60,
      'refresh-token-rolling': true,
      'auth-type-code-enabled': true,
      'auth-type-token-enabled': false,
      'auth-type-password-enabled': false,
      'auth-type-client-enabled': false,
      'auth-type-refresh-enabled': true,
      'secret-type': 'public',
      'pkce-allowed': true,
      'pkce-required-public-client': true,
      'allowed-scope': scopes,
      'resource-allowed': true,
      'resource-scope': { [scopes[1]]: audiences },
      'resource-client-property': '',
      'resource-scope-and-client-property': false,
    },
  });
  await set('client/', {
    client_id: CLIENT,
    name: CLIENT,
    confidential: false,
    enabled: true,
    redirect_uri: redirects,
    authorization_type: ['code'],
    token_endpoint_auth_method: ['none'],
    scope: [],
  });

  async function login(browser, url) {
    const page = await browser.open(url);
    await browser.sendJson('POST', `${origin}/api/auth/`, { username: user.name, password: user.password });
    await browser.sendJson('PUT', `${origin}/api/auth/grant/${CLIENT}`, { scope: scopes.join(' ') });
    const done = await browser.open(`${new URL(page.url).searchParams.get('callback_url')}&g_continue`);
    return done.url;
  }
  return { issuer: `${origin}/api/oidc`, parameters: (audience) => ({ client_id: CLIENT, resource: audience }), login };
}
