import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

// With an issuer, `token` is the name to sign in with there, and `password` the password. `base` may have a path, which a
// proxy removes.
const [executablePath, base, token, name, screenshot, issuer, password] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 1600 } });
page.setDefaultTimeout(20_000);

const requests = [];
const complaints = [];
page.on('request', (request) => requests.push(request.url()));
page.on('requestfailed', (request) => complaints.push(`failed: ${request.url()}`));
page.on('pageerror', (error) => complaints.push(`${error}`));
page.on('console', (message) => {
  if (['error', 'warning'].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
});
await page.exposeFunction('reportViolation', (violation) => complaints.push(violation));
await page.addInitScript(() => {
  document.addEventListener('securitypolicyviolation', (event) => window.reportViolation(
    `policy: ${event.violatedDirective} refuses ${event.blockedURI} ${event.sample} at ${event.sourceFile}:${event.lineNumber}`,
  ));
});

async function signIn(login) {
  const authorize = login.getByRole('button', { name: 'Apply given OAuth2 credentials' });
  const [popup] = await Promise.all([page.waitForEvent('popup'), authorize.click()]);
  await popup.locator('[name=login], [name=user]').fill(token);
  await popup.locator('[name=password]').fill(password);
  await popup.locator('[name=password]').press('Enter');
  // Not every provider asks for consent.
  popup.getByRole('button', { name: 'Continue' }).click().catch(() => {});
  await login.getByRole('button', { name: 'Remove authorization' }).waitFor();
  assert.ok(popup.isClosed());
}

try {
  await page.goto(`${base}/`);
  assert.equal(page.url(), `${base}/docs`);
  await page.getByRole('button', { name: 'Authorize' }).click();
  const dialog = page.locator('.dialog-ux');
  const boxes = await dialog.locator('.auth-container').allInnerTexts();
  assert.match(boxes[0], /^bearer\s/);
  if (issuer) {
    await signIn(dialog.locator('.auth-container', { hasText: 'login (OAuth2, authorizationCode with PKCE)' }));
  } else {
    const bearer = dialog.locator('form', { hasText: 'bearer (http' });
    await bearer.getByRole('textbox').fill(token);
    await bearer.getByRole('button', { name: 'Apply credentials' }).click();
  }
  await dialog.getByRole('button', { name: 'Close' }).last().click();

  const create = page.locator('.opblock', { hasText: 'Create My Api Key' });
  await create.locator('.opblock-summary').click();
  await create.getByRole('button', { name: 'Try it out' }).click();
  await create.locator('textarea').fill(JSON.stringify({ name }));
  await create.getByRole('button', { name: 'Execute' }).click();

  const response = create.locator('.live-responses-table');
  await response.waitFor();
  assert.equal((await response.locator('.response-col_status').last().innerText()).trim(), '201');
  assert.match(await response.locator('.highlight-code').last().innerText(), /"key": "mk_[0-9A-Za-z]{49}"/);

  const known = [`${base}/`, issuer && `${new URL(issuer).origin}/`, 'data:'].filter(Boolean);
  const elsewhere = requests.filter((url) => !known.some((start) => url.startsWith(start)));
  assert.deepEqual(elsewhere, []);
  assert.deepEqual(complaints, []);
} catch (error) {
  await page.screenshot({ path: screenshot, fullPage: true });
  console.error(error, complaints, requests.slice(-5), page.context().pages().map((page) => page.url()), `see ${screenshot}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
