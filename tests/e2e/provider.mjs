// A real OIDC provider (the certified oidc-provider), and on a second port the actions by which tests control it:
// rotate its keys, register a redirect, sign arbitrary tokens, list its requests, make it fail.
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { Provider } from 'oidc-provider';

const AUDIENCE = 'https://mintkey.example.com/api';
const SCOPES = 'projects:read projects:write api-keys:verify';
// Converts through PEM, because exporting a newly generated key as a JWK can deadlock in Node.
const make = (type, options) => createPrivateKey(generateKeyPairSync(type, {
  ...options,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
}).privateKey);
const KINDS = {
  RS256: () => make('rsa', { modulusLength: 2048 }),
  ES256: () => make('ec', { namedCurve: 'P-256' }),
  PS256: () => make('rsa', { modulusLength: 2048 }),
  EdDSA: () => make('ed25519'),
};

let generation = 0;
const generate = () => {
  generation += 1;
  return Object.entries(KINDS).map(([alg, generateKey]) => ({
    ...generateKey().export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg}-${generation}`,
  }));
};

let keys = generate();
const foreigners = generate();
let redirect = 'http://127.0.0.1/nowhere';
let broken = null;
let provider;
let requests = [];

// Uses TLS if the argument names a file with a certificate and its key.
const [pem] = process.argv.slice(2).map((path) => readFileSync(path));
const serve = (handler) => (pem ? createSecureServer({ cert: pem, key: pem }, handler) : createServer(handler));
const outward = serve((request, response) => {
  requests.push(request.url);
  if (broken === 'hang') return;
  if (broken) {
    response.writeHead(broken.status, broken.headers).end(broken.body);
    return;
  }
  // As a provider does that responds to no preflight: the browser sends none for a simple request.
  if (request.method === 'OPTIONS') {
    response.writeHead(405).end();
    return;
  }
  provider(request, response);
});
outward.listen(0, '127.0.0.1', () => {
  start();
  inward.listen(0, '127.0.0.1', () => console.log(JSON.stringify({
    issuer: issuer(), control: `http://127.0.0.1:${inward.address().port}`,
  })));
});
const issuer = () => `${pem ? 'https' : 'http'}://127.0.0.1:${outward.address().port}`;

function start() {
  const machine = (client_id) => ({
    client_id, client_secret: 'secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
  });
  const made = new Provider(issuer(), {
    clients: [...Object.keys(KINDS).map(machine), {
      client_id: 'docs', token_endpoint_auth_method: 'none', redirect_uris: [redirect],
      grant_types: ['authorization_code'], response_types: ['code'],
    }],
    jwks: { keys },
    scopes: ['openid', ...SCOPES.split(' ')],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, audience, client) => ({
          audience, scope: SCOPES, accessTokenFormat: 'jwt', accessTokenTTL: 600,
          jwt: { sign: { alg: KINDS[client.clientId] ? client.clientId : 'RS256' } },
        }),
      },
    },
    extraTokenClaims: () => ({ acme: { org: 'acme' }, realm_access: { roles: ['projects:list'] } }),
    clientBasedCORS: () => true,
    cookies: { keys: ['a test needs no secret'] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    enabledJWA: { idTokenSigningAlgValues: ['RS256'] },
  });
  made.on('server_error', (_, error) => console.error(error));
  provider = made.callback();
}

const base64url = (value) => Buffer.from(value).toString('base64url');
const algorithms = {
  RS256: (key) => ['sha256', { key }],
  PS256: (key) => ['sha256', { key, padding: 6, saltLength: 32 }],
  ES256: (key) => ['sha256', { key, dsaEncoding: 'ieee-p1363' }],
  EdDSA: (key) => [null, { key }],
};

// The actions of a test, each with the JSON of its request.
const actions = {
  // `add` publishes new keys in front of the old ones; `replace` removes the old ones.
  rotate: ({ how }) => {
    keys = how === 'add' ? [...generate(), ...keys] : generate();
    start();
    return keys.map(({ kid }) => kid);
  },
  redirect: ({ uri }) => { redirect = uri; start(); },
  // Signs the parts of a token, given as text, with algorithm `alg` and the newest key of type `by`, or a foreign key
  // with the same id.
  sign: ({ alg, by = alg, foreign, header, claims }) => {
    const key = keys.find((key) => key.alg === by);
    const signer = foreign ? foreigners.find((key) => key.alg === by) : key;
    const text = `${base64url(header.replaceAll('$KID', key.kid))}.${base64url(claims)}`;
    const [digest, options] = algorithms[alg](createPrivateKey({ key: signer, format: 'jwk' }));
    return `${text}.${sign(digest, Buffer.from(text), options).toString('base64url')}`;
  },
  // The public key of this type in every encoding, as base64.
  forms: ({ alg }) => {
    const key = createPublicKey({ key: keys.find((key) => key.alg === alg), format: 'jwk' });
    const jwk = key.export({ format: 'jwk' });
    const pem = key.export({ format: 'pem', type: 'spki' });
    return Object.fromEntries(Object.entries({
      'SPKI in PEM': pem,
      'SPKI in PEM without its last line break': pem.trim(),
      'SPKI in PEM on one line': pem.replaceAll('\n', ''),
      'SPKI in DER': key.export({ format: 'der', type: 'spki' }),
      'PKCS #1 in PEM': key.export({ format: 'pem', type: 'pkcs1' }),
      'PKCS #1 in DER': key.export({ format: 'der', type: 'pkcs1' }),
      'a JWK': JSON.stringify(jwk),
      'the JWKS': JSON.stringify({ keys: [jwk] }),
      'the modulus': Buffer.from(jwk.n, 'base64url'),
      'the modulus as it is written': jwk.n,
    }).map(([name, form]) => [name, Buffer.from(form).toString('base64')]));
  },
  // The public key of a stranger.
  foreign: ({ alg }) => {
    const { kty, n, e } = foreigners.find((key) => key.alg === alg);
    return { kty, n, e, alg, use: 'sig' };
  },
  break: ({ how }) => { broken = how; },
  requests: () => requests,
  forget: () => { requests = []; },
};

const inward = createServer(async (request, response) => {
  const body = (await request.toArray()).join('');
  const result = await actions[request.url.slice(1)](JSON.parse(body) ?? {});
  response.end(JSON.stringify(result ?? null));
});

// It ends with the test that started it.
process.stdin.resume().on('end', () => process.exit());
