// Verifiers that keep keys, while the keys change: jose, jwks-rsa, aws-jwt-verify and PyJWT, each with its defaults.

import assert from 'node:assert/strict';
import { createPublicKey, randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { JwtVerifier } from 'aws-jwt-verify';
import { SimpleJwksCache } from 'aws-jwt-verify/jwk';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import jwksRsa from 'jwks-rsa';

import { start, startLocal } from './local.mjs';
import { LoopbackFetcher, decode, invokeAt } from './service.mjs';

/**
 * How far the clocks of the verifiers are ahead, in milliseconds. A deployment publishes a key for 7,200 s before it signs.
 * Verifiers keep keys for 300 s (PyJWT) or 600 s (jose, jwks-rsa), and jose and PyJWT do not ask again within 30 s. Here the
 * service waits for 2 s, so the verifiers' clocks are moved by 7,200 s meanwhile: they have the time that they would have.
 */
let ahead = 0;
for (const clock of [Date, performance]) {
  const now = clock.now.bind(clock);
  clock.now = () => now() + ahead;
}
const PUBLICATION_SECONDS = 7_200;

const keyId = (token) => decode(token).header.kid;

const jwksUri = ({ url }) => new URL(`${url}/.well-known/jwks.json`);

async function publishedKeyIds(stack) {
  const { keys } = await (await fetch(jwksUri(stack))).json();
  return keys.map((key) => key.kid);
}

/** Returns a function that gets a machine token. The tokens live for a day: longer than the clocks are moved. */
async function createMachine({ url }) {
  const provision = (action, fields) => invokeAt(url, 'provision', { action, ...fields });
  const { organizationId } = await provision('createOrganization', { slug: `clients-${randomUUID()}` });
  const { registrationId, clientSecret } = await provision('createRegistration', {
    organizationId, name: 'a machine', confidential: true, clientCredentialsTtlSeconds: 86_400,
  });
  const request = { grant_type: 'client_credentials', client_id: registrationId, client_secret: clientSecret };
  return async () => {
    const response = await fetch(`${url}/oauth2/token`, { method: 'POST', body: new URLSearchParams(request) });
    const { access_token } = await response.json();
    assert.equal(response.status, 200);
    return access_token;
  };
}

/** `jose`, with these options. */
function joseVerifier(stack, options) {
  const keys = createRemoteJWKSet(jwksUri(stack), options);
  const verify = async (token) => (await jwtVerify(token, keys, { issuer: stack.url, audience: stack.url })).payload;
  return { verify, keyIds: () => keys.jwks().keys.map((key) => key.kid) };
}

function jwksRsaVerifier(stack) {
  const client = jwksRsa({ jwksUri: jwksUri(stack).href });
  const key = async ({ kid }) => createPublicKey((await client.getSigningKey(kid)).getPublicKey());
  return async (token) => (await jwtVerify(token, key, { issuer: stack.url, audience: stack.url })).payload;
}

function awsVerifier({ url }) {
  const jwksCache = new SimpleJwksCache({ fetcher: new LoopbackFetcher() });
  const verifier = JwtVerifier.create({ issuer: url, audience: url }, { jwksCache });
  return (token) => verifier.verify(token);
}

/** `PyJWT` in a process of its own, which answers a line with a line. */
function pyjwtVerifier(test, stack) {
  const script = fileURLToPath(new URL('pyjwt_verifier.py', import.meta.url));
  const { child } = start(test, '.venv/bin/python', [script, jwksUri(stack).href, stack.url]);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let keyIds = [];
  const verify = async (token) => {
    child.stdin.write(`${JSON.stringify({ token, ahead: ahead / 1000 })}\n`);
    const { done, value } = await lines.next();
    assert.ok(!done, 'PyJWT has ended');
    const answer = JSON.parse(value);
    if (answer.error) throw new Error(answer.error);
    keyIds = answer.keyIds;
    return answer.claims;
  };
  return { verify, keyIds: () => keyIds };
}

/** The service's own authorizer, in front of an API. */
function authorizer({ url }) {
  return async (token) => {
    const response = await fetch(`${url}/demo/whoami`, { headers: { authorization: `Bearer ${token}` } });
    assert.equal(response.status, 200);
    return decode(token).claims;
  };
}

test('a key is prepared, published and activated, and no token is refused at any moment', async (t) => {
  const stack = await startLocal(t, ['--port', '0', '--signing-mode', 'envelope'], { KEY_PUBLICATION_SECONDS: '2' });
  const rotate = (stage) => invokeAt(stack.url, 'provision', { action: 'rotateSigningKey', stage });
  const issue = await createMachine(stack);

  const jose = joseVerifier(stack);
  const pyjwt = pyjwtVerifier(t, stack);
  const verifiers = Object.entries({
    jose: jose.verify,
    'jwks-rsa': jwksRsaVerifier(stack),
    'aws-jwt-verify': awsVerifier(stack),
    PyJWT: pyjwt.verify,
    authorize: authorizer(stack),
  });
  const assertGood = async (...tokens) => {
    for (const token of tokens) {
      for (const [name, verify] of verifiers) {
        const claims = await verify(token).catch((cause) => {
          throw new Error(`${name} refuses a token of key ${keyId(token)}`, { cause });
        });
        assert.deepEqual(claims, decode(token).claims, name);
      }
    }
  };
  // This verifier never asks again. It must refuse the next key, or the test proves nothing about the others.
  const stale = joseVerifier(stack, { cacheMaxAge: Infinity, cooldownDuration: Infinity });

  const first = await issue();
  const current = keyId(first);
  await assertGood(first);
  await stale.verify(first);
  // The key of KMS is published too, because it may have signed before.
  const [published, ...others] = await publishedKeyIds(stack);
  assert.equal(published, current);

  const { kid: next } = await rotate('prepare');
  assert.notEqual(next, current);
  assert.deepEqual(await publishedKeyIds(stack), [current, next, ...others]);
  const tooEarly = { name: 'InvalidRequest', message: /stage must not be activate before/ };
  await assert.rejects(rotate('activate'), tooEarly);
  assert.deepEqual(await publishedKeyIds(stack), [current, next, ...others]);

  for (let seconds = 0; seconds < PUBLICATION_SECONDS; seconds += 60) {
    ahead += 60_000;
    const token = await issue();
    assert.equal(keyId(token), current);
    await assertGood(first, token);
  }
  for (const { keyIds } of [jose, pyjwt]) assert.deepEqual(keyIds(), [current, next, ...others]);

  const activate = () => rotate('activate').catch((error) => error);
  let activated = await activate();
  for (let attempt = 0; activated instanceof Error; attempt += 1) {
    assert.ok(attempt < 50, activated);
    assert.throws(() => { throw activated; }, tooEarly);
    await sleep(100);
    await assertGood(first, await issue());
    activated = await activate();
  }
  assert.deepEqual(activated, { kid: next });
  assert.deepEqual(await publishedKeyIds(stack), [next, current, ...others]);

  // The function that signs looks for a new key every 30 s, and must sign with it after 65 s.
  let token = await issue();
  let old = token;
  for (let attempt = 0; keyId(token) !== next; attempt += 1) {
    assert.ok(attempt < 260, 'the next key does not sign');
    assert.equal(keyId(token), current);
    await assertGood(first, token);
    old = token;
    await sleep(250);
    token = await issue();
  }
  await assertGood(first, old, token);
  await assert.rejects(stale.verify(token), { code: 'ERR_JWKS_NO_MATCHING_KEY' });
  for (let count = 0; count < 20; count += 1) {
    token = await issue();
    assert.equal(keyId(token), next);
    await assertGood(first, old, token);
  }

  // All caches have expired, and the old key is still published.
  ahead += 3_600_000;
  await assertGood(first, old, token);
  for (const { keyIds } of [jose, pyjwt]) assert.deepEqual(keyIds(), [next, current, ...others]);
});

for (const mode of ['kms', 'envelope']) {
  test(`in ${mode} mode, a stack that starts anew has another key, with another id`, async (t) => {
    const options = ['--signing-mode', mode];
    const first = await startLocal(t, ['--port', '0', ...options]);
    const { verify, keyIds } = joseVerifier(first, { cooldownDuration: 0 });
    const old = await (await createMachine(first))();
    await verify(old);
    const oldIds = keyIds();
    assert.equal(oldIds[0], keyId(old));
    await first.stop();

    const second = await startLocal(t, ['--port', new URL(first.url).port, ...options]);
    assert.equal(second.url, first.url);
    const token = await (await createMachine(second))();
    // The verifier finds the key of an id that it does not know.
    assert.equal((await verify(token)).iss, second.url);
    assert.equal(keyIds()[0], keyId(token));
    assert.deepEqual(keyIds().filter((id) => oldIds.includes(id)), []);
    await assert.rejects(verify(old), { code: 'ERR_JWKS_NO_MATCHING_KEY' });
  });
}
