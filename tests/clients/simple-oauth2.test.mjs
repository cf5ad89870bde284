// simple-oauth2, the small client of Node.js. It does not look into tokens.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';

import { AuthorizationCode, ClientCredentials } from 'simple-oauth2';

import {
  API_SCOPE,
  API_TOKEN_SECONDS,
  REDIRECT_URI,
  SCOPE,
  assertApiAccessToken,
  assertIdToken,
  assertManyTokens,
  assertUserAccessToken,
  createTenant,
  login,
  url,
} from './service.mjs';

const tenant = await createTenant();
const auth = {
  tokenHost: url,
  tokenPath: '/oauth2/token',
  revokePath: '/oauth2/revoke',
};

/** What each kind of client is configured with. The package sends Basic unless it is told otherwise. */
const settings = (id, secret, authorizationMethod = 'header') => ({
  client: { id, secret }, auth, options: { authorizationMethod },
});

const refused = (error, status = 400) => (thrown) => {
  assert.deepEqual([thrown.output.statusCode, thrown.data.payload.error], [status, error]);
  return true;
};

/** A user's way to the login service and back. Returns how the client asks for the tokens. */
async function authorize(client) {
  const code_verifier = randomBytes(32).toString('base64url');
  const state = randomBytes(16).toString('base64url');
  const request = client.authorizeURL({
    redirect_uri: REDIRECT_URI,
    scope: SCOPE,
    state,
    code_challenge: createHash('sha256').update(code_verifier).digest('base64url'),
    code_challenge_method: 'S256',
  });
  const callback = await login(request);
  assert.equal(callback.searchParams.get('state'), state);
  const code = callback.searchParams.get('code');
  return () => client.getToken({ code, redirect_uri: REDIRECT_URI, code_verifier });
}

function assertTokens({ access_token, id_token, token_type, expires_in, scope }, client) {
  assert.deepEqual([token_type, expires_in, scope], ['Bearer', 3600, SCOPE]);
  assertIdToken(id_token, access_token, client);
  return assertUserAccessToken(access_token, client);
}

const { publicClient, confidentialClient } = tenant;
const KINDS = [
  ['a public client with an empty secret in Basic', publicClient, 'header'],
  ['a public client with an empty secret in the body', publicClient, 'body'],
  ['client_secret_basic', confidentialClient, 'header'],
  ['client_secret_post', confidentialClient, 'body'],
];

for (const [kind, client, method] of KINDS) {
  test(`${kind}: login, refresh, revocation, a replayed code`, async () => {
    const party = new AuthorizationCode(settings(client.id, client.secret ?? '', method));
    const first = await (await authorize(party))();
    const { sid } = assertTokens(first.token, client);
    assert.equal(first.expired(3_500), false);
    assert.equal(first.expired(3_700), true);

    const second = await first.refresh();
    assert.notEqual(second.token.refresh_token, first.token.refresh_token);
    assert.equal(assertTokens(second.token, client).sid, sid);
    const narrow = await second.refresh({ scope: ['openid', 'email'] });
    assert.equal(narrow.token.scope, 'openid email');
    await assert.rejects(narrow.refresh({ scope: `${SCOPE} admin` }), refused('invalid_scope'));
    await narrow.revokeAll();
    await assert.rejects(narrow.refresh(), refused('invalid_grant'));

    const exchange = await authorize(party);
    const tokens = await exchange();
    await assert.rejects(exchange(), refused('invalid_grant'));
    await assert.rejects(tokens.refresh(), refused('invalid_grant'));
  });
}

test('client_credentials', async () => {
  const { registration, key, introspector } = tenant;
  for (const method of ['header', 'body']) {
    const api = new ClientCredentials(settings(registration, key.secret, method));
    const { token } = await api.getToken({});
    const { access_token, expires_at, ...rest } = token;
    assert.deepEqual(rest, { token_type: 'Bearer', expires_in: API_TOKEN_SECONDS, scope: API_SCOPE });
    assertApiAccessToken(access_token, registration);
    const narrow = await api.getToken({ scope: ['orders:read'] });
    assertApiAccessToken(narrow.token.access_token, registration, 'orders:read');
    await assert.rejects(api.getToken({ scope: 'admin' }), refused('invalid_scope'));
    const unknown = new ClientCredentials(settings(registration, 'not-the-secret', method));
    await assert.rejects(unknown.getToken({}), refused('invalid_client', 401));
    const wrong = new ClientCredentials(settings(registration, introspector.secret, method));
    await assert.rejects(wrong.getToken({}), refused('unauthorized_client'));
  }
});

test('many tokens of one machine', () =>
  assertManyTokens((registration, secret) => {
    const api = new ClientCredentials(settings(registration, secret));
    return async () => (await api.getToken({})).token;
  }));
