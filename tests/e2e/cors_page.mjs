// The contract's fetch example and the calls of a web application, in pages of other origins.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';

const [executablePath, host, token, allowedPort] = process.argv.slice(2);

// Pages of two origins: one that the server allows, and one that it does not.
const serve = (port) => new Promise((resolve) => {
  const server = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html>'));
  server.listen(port, '127.0.0.1', () => resolve(server));
});
const servers = await Promise.all([serve(Number(allowedPort)), serve(0)]);
const [allowed, other] = servers.map((server) => `http://127.0.0.1:${server.address().port}`);

const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});

/** Sends requests in a page of this origin and returns what the page can read. */
async function inPage(origin, run) {
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(origin);
  const result = await page.evaluate(run, { host, token });
  await page.close();
  return result;
}

try {
  const example = async ({ host, token }) => {
    const response = await fetch(`${host}/api/auth/api-keys/`, { method: 'POST',
      headers: {Authorization: `Bearer ${token}`, 'Content-Type': 'application/json'},
      body: '{"name":"example"}' });
    const data = await response.json();
    return data;
  };
  const created = await inPage(allowed, example);
  assert.equal(created.name, 'example');
  assert.match(created.key, /^mk_[0-9A-Za-z]{49}$/);

  const seen = await inPage(allowed, async ({ host, token }) => {
    const KEYS = `${host}/api/auth/api-keys/`;
    const send = async (method, url, { headers = {}, body, credential = token } = {}) => {
      const response = await fetch(url, {
        method, body, headers: { ...(credential && { Authorization: `Bearer ${credential}` }), ...headers },
      });
      const text = await response.text();
      return {
        status: response.status, url: response.url, body: text && JSON.parse(text),
        headers: Object.fromEntries(response.headers),
      };
    };
    const json = { 'Content-Type': 'application/json' };
    const id = '0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11';
    const traced = {
      ...json, 'Idempotency-Key': crypto.randomUUID(), 'X-Request-Id': 'from-a-page',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'X-Added-By-Monitoring': '1',
    };
    const create = await send('POST', KEYS, { headers: traced, body: '{"name":"first"}' });
    const repeated = await send('POST', KEYS, { headers: traced, body: '{"name":"first"}' });
    const key = new URL(create.headers.location, create.url).href;
    const stale = { ...json, 'If-Match': '"0"' };
    const current = { ...json, 'If-Match': create.headers.etag };
    const refused = await send('PATCH', key, { headers: stale, body: '{"name":"second"}' });
    const changed = await send('PATCH', key, { headers: current, body: '{"name":"second"}' });
    const list = await send('GET', `${KEYS}?limit=1`);
    const next = /^<([^>]*)>; rel="next"$/.exec(list.headers.link)[1];
    return {
      create, repeated, refused, changed, list,
      next: await send('GET', new URL(next, list.url).href),
      head: await send('HEAD', key),
      anonymous: await send('POST', KEYS, { headers: json, body: '{"name":"x"}', credential: null }),
      simple: await send('GET', KEYS, { credential: null }),
      garbled: await send('GET', KEYS, { credential: 'garbled' }),
      invalid: await send('POST', KEYS, { headers: json, body: '{}' }),
      plain: await send('POST', KEYS, { headers: { 'Content-Type': 'text/plain' }, body: '{}' }),
      large: await send('POST', KEYS, { headers: json, body: JSON.stringify({ name: 'x'.repeat(70_000) }) }),
      unknown: await send('GET', `${KEYS}${id}`),
      nowhere: await send('DELETE', `${host}/api/nothing`),
      wrong: await send('POST', `${KEYS}${id}`, { headers: json, body: '{}' }),
      deleted: await send('DELETE', key),
    };
  });
  const statuses = Object.fromEntries(Object.entries(seen).map(([name, { status }]) => [name, status]));
  assert.deepEqual(statuses, {
    create: 201, repeated: 201, refused: 412, changed: 200, list: 200, next: 200, head: 200, anonymous: 401, simple: 401,
    garbled: 401, invalid: 422, plain: 415, large: 413, unknown: 404, nowhere: 404, wrong: 405, deleted: 204,
  });
  for (const [name, { status, body, headers }] of Object.entries(seen)) {
    assert.ok(headers['x-request-id'], name);
    if (status >= 400) assert.equal(body.status, status, name);
  }
  const { create, repeated, changed, next, anonymous, wrong } = seen;
  assert.equal(create.headers['x-request-id'], 'from-a-page');
  assert.equal(repeated.headers['idempotency-replayed'], 'true');
  assert.equal(repeated.body.key, create.body.key);
  assert.equal(changed.body.name, 'second');
  assert.notEqual(changed.headers.etag, create.headers.etag);
  assert.equal(next.body.items[0].name, 'example');
  assert.equal(anonymous.headers['www-authenticate'], 'Bearer');
  assert.match(wrong.headers.allow, /GET/);

  // A page of another origin can neither send a request with a credential, nor read the response to one without.
  const attempts = async ({ host, token }) => Promise.all([
    fetch(`${host}/api/auth/api-keys/`, { method: 'POST', headers: { Authorization: `Bearer ${token}` }, body: '{"name":"x"}' }),
    fetch(`${host}/api/auth/api-keys/`),
    fetch(`${host}/openapi.json`),
  ].map((attempt) => attempt.then((response) => response.status, (error) => error.name)));
  assert.deepEqual(await inPage(other, attempts), ['TypeError', 'TypeError', 'TypeError']);
  // Nor can a frame without an origin in a page that is allowed.
  const framed = await inPage(allowed, ({ host }) => new Promise((resolve) => {
    window.addEventListener('message', ({ data }) => resolve(data));
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-scripts';
    frame.srcdoc = `<script>fetch('${host}/openapi.json')
      .then((response) => response.status, (error) => error.name)
      .then((result) => parent.postMessage(result, '*'))</script>`;
    document.body.append(frame);
  }));
  assert.equal(framed, 'TypeError');
} finally {
  await browser.close();
  servers.forEach((server) => server.close());
}
