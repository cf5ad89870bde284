// openid-client, the certified relying party for Node.js.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as oidc from 'openid-client';

import {
  API_SCOPE,
  API_TOKEN_SECONDS,
  AUTH_TIME,
  BILLING,
  ORDERS,
  REDIRECT_URI,
  SCOPE,
  USER,
  assertApiAccessToken,
  assertIdToken,
  assertManyTokens,
  assertUserAccessToken,
  createTenant,
  login,
  provision,
  url,
} from './service.mjs';

const tenant = await createTenant();

/** The client's configuration. It checks the signatures of ID tokens too, which it need not do behind TLS. */
function configure(id, authentication) {
  const execute = [oidc.allowInsecureRequests, oidc.enableNonRepudiationChecks];
  return oidc.discovery(new URL(url), id, undefined, authentication, { execute });
}

const KINDS = [
  ['a public client', tenant.publicClient, oidc.None()],
  ['client_secret_basic', tenant.confidentialClient, oidc.ClientSecretBasic(tenant.confidentialClient.secret)],
  ['client_secret_post', tenant.confidentialClient, oidc.ClientSecretPost(tenant.confidentialClient.secret)],
];

/** The parameters of RFC 8707. */
const resourceParameters = (...resources) => resources.map((resource) => ['resource', resource]);

/** Sends the user to the login service and back, to log in for these APIs. */
async function authorize(config, ...resources) {
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier();
  const [expectedState, expectedNonce] = [oidc.randomState(), oidc.randomNonce()];
  const parameters = Object.entries({
    redirect_uri: REDIRECT_URI,
    scope: SCOPE,
    state: expectedState,
    nonce: expectedNonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
  });
  const query = new URLSearchParams([...parameters, ...resourceParameters(...resources)]);
  const callback = await login(oidc.buildAuthorizationUrl(config, query));
  return { callback, checks: { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true } };
}

/** As the client would use it, with a fresh object: the client writes into it. */
const exchange = (config, { callback, checks }, parameters) =>
  oidc.authorizationCodeGrant(config, callback, { ...checks }, parameters);

const introspect = async (token) => {
  const { id, secret } = tenant.introspector;
  return oidc.tokenIntrospection(await configure(id, oidc.ClientSecretBasic(secret)), token);
};

const refused = (error, status = 400) => ({ name: 'ResponseBodyError', error, status });

/** Asserts that nothing of a grant works any more. */
async function assertOver(config, { access_token, refresh_token }) {
  await assert.rejects(oidc.refreshTokenGrant(config, refresh_token), refused('invalid_grant'));
  assert.deepEqual(await introspect(access_token), { active: false });
  assert.deepEqual(await introspect(refresh_token), { active: false });
  await assert.rejects(oidc.fetchUserInfo(config, access_token, USER.sub), {
    name: 'WWWAuthenticateChallengeError',
    status: 401,
    cause: [{ scheme: 'bearer', parameters: { realm: 'tokenmint', error: 'invalid_token' } }],
  });
}

for (const [kind, client, authentication] of KINDS) {
  test(`${kind}: login, refresh, user information, introspection, revocation`, async () => {
    const config = await configure(client.id, authentication);
    assert.equal(config.serverMetadata().supportsPKCE(), true);
    const request = await authorize(config);
    const first = await exchange(config, request);
    const { access_token, id_token, refresh_token, ...rest } = first;
    assert.deepEqual(rest, { token_type: 'bearer', expires_in: 3600, scope: SCOPE });
    const { jti, sid, iat, exp } = assertUserAccessToken(access_token, client);
    const claims = assertIdToken(id_token, access_token, client, request.checks.expectedNonce);
    assert.deepEqual(first.claims(), claims);
    assert.equal(claims.sid, sid);
    assert.deepEqual(await oidc.fetchUserInfo(config, access_token, USER.sub), USER);

    const shown = { active: true, client_id: client.id, sub: USER.sub, sid, organization: tenant.organizationId };
    const times = { iss: url, aud: url, iat, exp, jti };
    assert.deepEqual(await introspect(access_token), { ...shown, ...times, scope: SCOPE, token_type: 'Bearer' });

    const second = await oidc.refreshTokenGrant(config, refresh_token);
    assert.notEqual(second.refresh_token, refresh_token);
    assert.equal(assertUserAccessToken(second.access_token, client).sid, sid);
    assert.equal(assertIdToken(second.id_token, second.access_token, client).sid, sid);

    const narrow = await oidc.refreshTokenGrant(config, second.refresh_token, { scope: 'openid email' });
    assert.equal(narrow.scope, 'openid email');
    assertUserAccessToken(narrow.access_token, client, 'openid email');
    const { name, ...narrowUser } = USER;
    assert.deepEqual(await oidc.fetchUserInfo(config, narrow.access_token, USER.sub), narrowUser);
    const wide = await oidc.refreshTokenGrant(config, narrow.refresh_token);
    assert.equal(wide.scope, SCOPE);
    const wider = { scope: `${SCOPE} admin` };
    await assert.rejects(oidc.refreshTokenGrant(config, wide.refresh_token, wider), refused('invalid_scope'));

    assert.equal(await oidc.tokenRevocation(config, wide.refresh_token), undefined);
    await assertOver(config, wide);
    assert.equal(await oidc.tokenRevocation(config, wide.refresh_token), undefined);
  });

  test(`${kind}: a replayed code ends the grant`, async () => {
    const config = await configure(client.id, authentication);
    const request = await authorize(config);
    const tokens = await exchange(config, request);
    await assert.rejects(exchange(config, request), refused('invalid_grant'));
    await assertOver(config, tokens);
  });

  test(`${kind}: a replayed refresh token ends the grant`, async () => {
    const config = await configure(client.id, authentication);
    const first = await exchange(config, await authorize(config));
    const second = await oidc.refreshTokenGrant(config, first.refresh_token);
    const third = await oidc.refreshTokenGrant(config, second.refresh_token);
    await assert.rejects(oidc.refreshTokenGrant(config, first.refresh_token), refused('invalid_grant'));
    await assertOver(config, third);
  });

  test(`${kind}: a revoked access token ends the grant`, async () => {
    const config = await configure(client.id, authentication);
    const tokens = await exchange(config, await authorize(config));
    await oidc.tokenRevocation(config, tokens.access_token, { token_type_hint: 'access_token' });
    await assertOver(config, tokens);
  });

  test(`${kind}: a refused exchange leaves the code as it was`, async () => {
    const config = await configure(client.id, authentication);
    const { callback, checks } = await authorize(config);
    const other = { callback, checks: { ...checks, pkceCodeVerifier: oidc.randomPKCECodeVerifier() } };
    await assert.rejects(exchange(config, other), refused('invalid_grant'));
    assert.equal((await exchange(config, { callback, checks })).claims().auth_time, AUTH_TIME);
  });
}

test('a client that tries Basic first and the body then keeps its code', async () => {
  const { id, secret } = tenant.confidentialClient;
  const post = await configure(id, oidc.ClientSecretPost(secret));
  const request = await authorize(post);
  const basic = await configure(id, oidc.ClientSecretBasic('not-the-secret'));
  await assert.rejects(exchange(basic, request), {
    name: 'WWWAuthenticateChallengeError',
    status: 401,
    cause: [{ scheme: 'basic', parameters: { realm: 'tokenmint' } }],
  });
  const wrong = await configure(id, oidc.ClientSecretPost('not-the-secret'));
  await assert.rejects(exchange(wrong, request), refused('invalid_client', 401));
  const nobody = await configure(id, oidc.None());
  await assert.rejects(exchange(nobody, request), refused('invalid_client', 401));
  assert.equal((await exchange(post, request)).scope, SCOPE);
});

for (const authentication of [oidc.ClientSecretBasic, oidc.ClientSecretPost]) {
  test(`client_credentials with ${authentication.name}`, async () => {
    const { registration, key, introspector } = tenant;
    const config = await configure(registration, authentication(key.secret));
    const { access_token, ...rest } = await oidc.clientCredentialsGrant(config);
    assert.deepEqual(rest, { token_type: 'bearer', expires_in: API_TOKEN_SECONDS, scope: API_SCOPE });
    const { iat, exp, jti } = assertApiAccessToken(access_token, registration);

    const inspector = await configure(introspector.id, authentication(introspector.secret));
    assert.deepEqual(await oidc.tokenIntrospection(inspector, access_token), {
      active: true,
      scope: API_SCOPE,
      client_id: registration,
      sub: registration,
      token_type: 'Bearer',
      iss: url,
      aud: url,
      iat,
      exp,
      jti,
      organization: tenant.organizationId,
    });

    const narrow = await oidc.clientCredentialsGrant(config, { scope: 'orders:read' });
    assert.equal(narrow.scope, 'orders:read');
    assertApiAccessToken(narrow.access_token, registration, 'orders:read');
    await assert.rejects(oidc.clientCredentialsGrant(config, { scope: 'orders:read users:read' }), refused('invalid_scope'));

    for (const token of [access_token, narrow.access_token]) {
      assert.equal(await oidc.tokenRevocation(config, token), undefined);
      assert.deepEqual(await oidc.tokenIntrospection(inspector, token), { active: false });
    }
  });
}

test('client_credentials wants an API key that may create tokens', async () => {
  const config = await configure(tenant.registration, oidc.ClientSecretPost(tenant.introspector.secret));
  await assert.rejects(oidc.clientCredentialsGrant(config), refused('unauthorized_client'));
  const unknown = await configure('unknown', oidc.ClientSecretPost(tenant.key.secret));
  await assert.rejects(oidc.clientCredentialsGrant(unknown), refused('invalid_client', 401));
});

test('introspection wants an API key that may introspect', async () => {
  const config = await configure(tenant.key.id, oidc.ClientSecretBasic(tenant.key.secret));
  await assert.rejects(oidc.tokenIntrospection(config, 'anything'), {
    name: 'WWWAuthenticateChallengeError',
    status: 403,
    cause: [{ scheme: 'bearer', parameters: { realm: 'tokenmint', error: 'insufficient_scope' } }],
  });
});

test('a machine that introspects its own tokens with its own secret', async () => {
  const { organizationId } = tenant;
  const { registrationId, clientSecret } = await provision('createRegistration', {
    organizationId, name: 'a machine', scopes: API_SCOPE.split(' '), confidential: true,
  });
  const other = await configure(tenant.registration, oidc.ClientSecretPost(tenant.key.secret));
  const { access_token: others } = await oidc.clientCredentialsGrant(other);
  assert.equal((await introspect(others)).active, true);
  for (const authentication of [oidc.ClientSecretBasic(clientSecret), oidc.ClientSecretPost(clientSecret)]) {
    const config = await configure(registrationId, authentication);
    const { access_token } = await oidc.clientCredentialsGrant(config);
    const shown = await oidc.tokenIntrospection(config, access_token);
    assert.deepEqual([shown.active, shown.sub, shown.organization], [true, registrationId, organizationId]);
    assert.deepEqual(await oidc.tokenIntrospection(config, others), { active: false });
  }
  const wrong = await configure(registrationId, oidc.ClientSecretPost('not-the-secret'));
  await assert.rejects(oidc.clientCredentialsGrant(wrong), refused('invalid_client', 401));
});

test('many tokens of one machine', () =>
  assertManyTokens(async (registration, secret) => {
    const config = await configure(registration, oidc.ClientSecretBasic(secret));
    return () => oidc.clientCredentialsGrant(config);
  }));

test('a token for one API, for two and for none', async () => {
  const { registration, key } = tenant;
  const config = await configure(registration, oidc.ClientSecretPost(key.secret));
  const request = (...parameters) => oidc.clientCredentialsGrant(config, new URLSearchParams(parameters));
  const cases = [
    [[], url],
    [[['resource', ORDERS]], ORDERS],
    [[['audience', ORDERS]], ORDERS],
    [[['resource', url]], url],
    [resourceParameters(BILLING, ORDERS), [BILLING, ORDERS]],
    [resourceParameters(ORDERS, BILLING, ORDERS), [ORDERS, BILLING]],
    [[['resource', BILLING], ['audience', url]], [BILLING, url]],
  ];
  for (const [parameters, aud] of cases) {
    const { access_token } = await request(...parameters);
    assertApiAccessToken(access_token, registration, API_SCOPE, aud);
    assert.deepEqual((await introspect(access_token)).aud, aud);
  }
  for (const unknown of ['https://other.example.com', `${ORDERS}/`, ORDERS.toUpperCase(), registration]) {
    await assert.rejects(request(['resource', unknown]), refused('invalid_target'));
    await assert.rejects(request(['audience', unknown]), refused('invalid_target'));
    await assert.rejects(request(...resourceParameters(ORDERS, unknown)), refused('invalid_target'));
  }
});

test('a login for two APIs', async () => {
  const client = tenant.confidentialClient;
  const config = await configure(client.id, oidc.ClientSecretBasic(client.secret));
  const target = (resource) => new URLSearchParams({ resource });
  const request = await authorize(config, BILLING, ORDERS);
  for (const unknown of ['https://other.example.com', url]) {
    await assert.rejects(exchange(config, request, target(unknown)), refused('invalid_target'));
  }
  const first = await exchange(config, request);
  const { jti } = assertUserAccessToken(first.access_token, client, SCOPE, [BILLING, ORDERS]);
  assertIdToken(first.id_token, first.access_token, client, request.checks.expectedNonce);
  const shown = await introspect(first.access_token);
  assert.deepEqual([shown.active, shown.jti, shown.aud], [true, jti, [BILLING, ORDERS]]);
  // User information is an API of the deployment, which is not among the two.
  await assert.rejects(oidc.fetchUserInfo(config, first.access_token, USER.sub), {
    name: 'WWWAuthenticateChallengeError',
    status: 401,
    cause: [{ scheme: 'bearer', parameters: { realm: 'tokenmint', error: 'invalid_token' } }],
  });

  const narrow = await oidc.refreshTokenGrant(config, first.refresh_token, target(ORDERS));
  assertUserAccessToken(narrow.access_token, client, SCOPE, ORDERS);
  for (const unknown of ['https://other.example.com', url]) {
    await assert.rejects(oidc.refreshTokenGrant(config, narrow.refresh_token, target(unknown)), refused('invalid_target'));
  }
  // It was narrowed for that answer only.
  const wide = await oidc.refreshTokenGrant(config, narrow.refresh_token);
  assertUserAccessToken(wide.access_token, client, SCOPE, [BILLING, ORDERS]);

  const one = await exchange(config, await authorize(config, BILLING, ORDERS), target(BILLING));
  assertUserAccessToken(one.access_token, client, SCOPE, BILLING);
});

test('a login for no API in particular', async () => {
  const client = tenant.publicClient;
  const config = await configure(client.id, oidc.None());
  const request = await authorize(config);
  await assert.rejects(exchange(config, request, { resource: ORDERS }), refused('invalid_target'));
  const tokens = await exchange(config, request, { resource: url });
  assertUserAccessToken(tokens.access_token, client);
  await assert.rejects(oidc.refreshTokenGrant(config, tokens.refresh_token, { resource: ORDERS }), refused('invalid_target'));
  assertUserAccessToken((await oidc.refreshTokenGrant(config, tokens.refresh_token)).access_token, client);
});
