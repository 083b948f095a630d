// LemonLDAP::NG of Debian with its demonstration users, run by Plack's own web server. A client is bound to one audience.
import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { listening } from '../server.mjs';

const USER = 'dwho';

export async function start({ directory, port, servers, redirects, audiences }) {
  const origin = `http://127.0.0.1:${port}/`;
  const inside = (name) => join(directory, name);
  const initialization = inside('lemonldap-ng.ini');
  for (const name of ['configuration', 'cache', 'sessions', 'lock']) mkdirSync(inside(name));
  writeFileSync(initialization, `
[all]
logLevel = warn
[configuration]
type = File
dirName = ${inside('configuration')}
localStorage = Cache::FileCache
localStorageOptions = { 'namespace' => 'configuration', 'cache_root' => '${inside('cache')}' }
[portal]
staticPrefix = /static
templateDir = /usr/share/lemonldap-ng/portal/templates
`);
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const clients = { [audiences[0]]: 'mintkey-docs', [audiences[1]]: 'other' };
  const forEachClient = (make) => Object.fromEntries(audiences.map((name) => [clients[name], make(clients[name], name)]));
  const storage = { Directory: inside('sessions'), LockDirectory: inside('lock') };
  writeFileSync(inside('configuration/lmConf-1.json'), JSON.stringify({
    cfgNum: 1,
    cfgDate: 1,
    portal: origin,
    domain: '127.0.0.1',
    authentication: 'Demo',
    userDB: 'Same',
    demoExportedVars: { cn: 'cn', mail: 'mail', uid: 'uid' },
    whatToTrace: 'uid',
    locationRules: { '127.0.0.1': { default: 'accept' } },
    globalStorage: 'Apache::Session::File',
    globalStorageOptions: storage,
    persistentStorage: 'Apache::Session::File',
    persistentStorageOptions: storage,
    localSessionStorage: 'Cache::FileCache',
    localSessionStorageOptions: { namespace: 'sessions', cache_root: inside('cache') },
    securedCookie: 0,
    // The portal loads a module for captchas even if they are off. This one needs no images.
    captcha: '::Main::Plugin',
    captcha_mail_enabled: 0,
    captcha_register_enabled: 0,
    issuerDBOpenIDConnectActivation: 1,
    oidcServiceMetaDataIssuer: origin,
    oidcServicePrivateKeySig: privateKey,
    oidcServicePublicKeySig: publicKey,
    oidcServiceKeyIdSig: 'key-1',
    oidcRPMetaDataOptions: forEachClient((id, audience) => ({
      oidcRPMetaDataOptionsClientID: id,
      oidcRPMetaDataOptionsPublic: 1,
      oidcRPMetaDataOptionsRequirePKCE: 1,
      oidcRPMetaDataOptionsBypassConsent: 1,
      oidcRPMetaDataOptionsRedirectUris: redirects.join(' '),
      oidcRPMetaDataOptionsIDTokenSignAlg: 'RS256',
      oidcRPMetaDataOptionsAccessTokenJWT: 1,
      oidcRPMetaDataOptionsAccessTokenSignAlg: 'RS256',
      oidcRPMetaDataOptionsAdditionalAudiences: audience,
    })),
    oidcRPMetaDataExportedVars: forEachClient(() => ({ name: 'cn' })),
  }));
  const application = fileURLToPath(new URL('portal.psgi', import.meta.url));
  // It serves one connection at a time. The timeout ends those that a browser opens in advance.
  const options = ['--host', '127.0.0.1', '--port', `${port}`, '--env', 'deployment', '--timeout', '5'];
  const server = spawn('plackup', [...options, application], {
    stdio: ['ignore', 2, 2],
    env: { ...process.env, LLNG_DEFAULTCONFFILE: initialization, LLNG_DEFAULTLOGGER: 'Lemonldap::NG::Common::Logger::Std' },
  });
  servers.push(server);
  await listening(server, port);

  async function login(browser, url) {
    const page = await browser.open(url);
    const value = (input, attribute) => new RegExp(`${attribute}="([^"]*)"`).exec(input)?.[1] ?? '';
    const hidden = (page.text.match(/<input[^>]*type="hidden"[^>]*>/g) ?? [])
      .map((input) => [value(input, 'name'), value(input, 'value')]);
    const done = await browser.postForm(url, [...hidden, ['user', USER], ['password', USER]]);
    return done.url;
  }
  return { issuer: origin, parameters: (audience) => ({ client_id: clients[audience] }), login };
}
