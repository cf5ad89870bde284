// oauth4webapi, the strictest of the clients: it checks each answer's status, media type and types, and JWT access tokens as RFC
// 9068 says.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as oauth from 'oauth4webapi';

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
  assertUserAccessToken,
  call,
  createTenant,
  createToken,
  login,
  url,
} from './service.mjs';

const tenant = await createTenant();
const insecure = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(url);

async function discover(algorithm) {
  const response = await oauth.discoveryRequest(issuer, { algorithm, ...insecure });
  return oauth.processDiscoveryResponse(issuer, response);
}

const as = await discover('oidc');

const { publicClient, confidentialClient, introspector, key, registration } = tenant;
const KINDS = [
  ['a public client', publicClient, oauth.None()],
  ['client_secret_basic', confidentialClient, oauth.ClientSecretBasic(confidentialClient.secret)],
  ['client_secret_post', confidentialClient, oauth.ClientSecretPost(confidentialClient.secret)],
];

/** A relying party as the package's own examples write it. */
class RelyingParty {
  constructor(client, authentication) {
    // With `require_auth_time` an ID token without `auth_time` is refused.
    this.client = { client_id: client.id, require_auth_time: true };
    this.authentication = authentication;
  }

  async authorize(...resources) {
    this.verifier = oauth.generateRandomCodeVerifier();
    this.nonce = oauth.generateRandomNonce();
    const state = oauth.generateRandomState();
    const request = new URL(as.authorization_endpoint);
    request.search = new URLSearchParams({
      client_id: this.client.client_id,
      redirect_uri: REDIRECT_URI,
      response_type: 'code',
      scope: SCOPE,
      state,
      nonce: this.nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(this.verifier),
      code_challenge_method: 'S256',
    });
    for (const resource of resources) request.searchParams.append('resource', resource);
    const callback = await login(request);
    this.callback = oauth.validateAuthResponse(as, this.client, callback, state);
  }

  async exchange() {
    const { client, authentication, callback, verifier, nonce } = this;
    const response = await oauth.authorizationCodeGrantRequest(
      as, client, authentication, callback, REDIRECT_URI, verifier, insecure,
    );
    this.assertHeaders(response);
    const expected = { expectedNonce: nonce, requireIdToken: true, maxAge: 300 };
    const tokens = await oauth.processAuthorizationCodeResponse(as, client, response, expected);
    await oauth.validateApplicationLevelSignature(as, response, insecure);
    return tokens;
  }

  async refresh(refreshToken, additionalParameters) {
    const { client, authentication } = this;
    const options = { additionalParameters, ...insecure };
    const response = await oauth.refreshTokenGrantRequest(as, client, authentication, refreshToken, options);
    this.assertHeaders(response);
    const tokens = await oauth.processRefreshTokenResponse(as, client, response);
    await oauth.validateApplicationLevelSignature(as, response, insecure);
    return tokens;
  }

  async clientCredentials(parameters = {}) {
    const { client, authentication } = this;
    const response = await oauth.clientCredentialsGrantRequest(as, client, authentication, parameters, insecure);
    this.assertHeaders(response);
    return oauth.processClientCredentialsResponse(as, client, response);
  }

  async userInfo(accessToken) {
    const response = await oauth.userInfoRequest(as, this.client, accessToken, insecure);
    return oauth.processUserInfoResponse(as, this.client, USER.sub, response);
  }

  async introspect(token) {
    const response = await oauth.introspectionRequest(as, this.client, this.authentication, token, insecure);
    return oauth.processIntrospectionResponse(as, this.client, response);
  }

  async revoke(token) {
    const response = await oauth.revocationRequest(as, this.client, this.authentication, token, insecure);
    assert.equal(await response.clone().text(), '{}');
    return oauth.processRevocationResponse(response);
  }

  /** RFC 6749, 5.1 and 5.2. */
  assertHeaders(response) {
    assert.equal(response.headers.get('cache-control'), 'no-store');
    assert.equal(response.headers.get('pragma'), 'no-cache');
  }
}

const inspector = new RelyingParty(introspector, oauth.ClientSecretPost(introspector.secret));
const refused = (error, status = 400) => ({ name: 'ResponseBodyError', error, status });

/** Checks an access token as an API does that gets it: RFC 9068, section 4. */
function validate(accessToken, audience) {
  const request = new Request('https://api.example.com/orders', { headers: { authorization: `Bearer ${accessToken}` } });
  const options = { signingAlgorithms: ['RS256'], [oauth.clockTolerance]: 0, ...insecure };
  return oauth.validateJwtAccessToken(as, request, audience, options);
}

async function assertOver(party, { access_token, refresh_token }) {
  await assert.rejects(party.refresh(refresh_token), refused('invalid_grant'));
  assert.deepEqual(await inspector.introspect(access_token), { active: false });
  assert.deepEqual(await inspector.introspect(refresh_token), { active: false });
  await assert.rejects(party.userInfo(access_token), {
    name: 'WWWAuthenticateChallengeError',
    status: 401,
    cause: [{ scheme: 'bearer', parameters: { realm: 'tokenmint', error: 'invalid_token' } }],
  });
}

test('both discovery documents', async () => {
  for (const document of [as, await discover('oauth2')]) {
    assert.equal(document.issuer, url);
    assert.equal(document.jwks_uri, `${url}/.well-known/jwks.json`);
    assert.equal(document.token_endpoint, `${url}/oauth2/token`);
    assert.equal(document.revocation_endpoint, `${url}/oauth2/revoke`);
    assert.equal(document.introspection_endpoint, `${url}/oauth2/introspect`);
    assert.equal(document.userinfo_endpoint, `${url}/oauth2/userinfo`);
    assert.deepEqual(document.response_types_supported, ['code']);
    const grants = ['authorization_code', 'client_credentials', 'refresh_token'];
    assert.deepEqual(document.grant_types_supported.toSorted(), grants);
    assert.deepEqual(document.code_challenge_methods_supported, ['S256']);
    assert.deepEqual(document.subject_types_supported, ['public']);
    assert.deepEqual(document.id_token_signing_alg_values_supported, ['RS256']);
    const methods = ['client_secret_basic', 'client_secret_post', 'none'];
    assert.deepEqual(document.token_endpoint_auth_methods_supported.toSorted(), methods);
    for (const name of ['request_parameter_supported', 'request_uri_parameter_supported', 'claims_parameter_supported']) {
      assert.equal(document[name], false, name);
    }
  }
});

for (const [kind, client, authentication] of KINDS) {
  test(`${kind}: login, refresh, user information, introspection, revocation`, async () => {
    const party = new RelyingParty(client, authentication);
    await party.authorize();
    const first = await party.exchange();
    const { access_token, id_token, refresh_token, ...rest } = first;
    assert.deepEqual(rest, { token_type: 'bearer', expires_in: 3600, scope: SCOPE });
    const accessClaims = assertUserAccessToken(access_token, client);
    const idClaims = assertIdToken(id_token, access_token, client, party.nonce);
    assert.deepEqual(oauth.getValidatedIdTokenClaims(first), idClaims);
    assert.equal(idClaims.auth_time, AUTH_TIME);
    assert.deepEqual(await validate(access_token, url), accessClaims);
    await assert.rejects(validate(access_token, client.id), { code: oauth.JWT_CLAIM_COMPARISON });
    await assert.rejects(validate(id_token, client.id), { code: oauth.INVALID_RESPONSE });
    assert.deepEqual(await party.userInfo(access_token), USER);

    const second = await party.refresh(refresh_token);
    assert.notEqual(second.refresh_token, refresh_token);
    assert.equal((await validate(second.access_token, url)).sid, accessClaims.sid);
    assertIdToken(second.id_token, second.access_token, client);

    const shown = await inspector.introspect(second.access_token);
    const { auth_time, ...claims } = assertUserAccessToken(second.access_token, client);
    assert.deepEqual(shown, { active: true, ...claims, token_type: 'Bearer', organization: tenant.organizationId });
    assert.equal((await inspector.introspect(second.refresh_token)).active, true);
    assert.deepEqual(await inspector.introspect(refresh_token), { active: false });
    assert.deepEqual(await inspector.introspect(second.id_token), { active: false });

    await party.revoke(second.refresh_token);
    await assertOver(party, second);
    await party.revoke('unknown');
  });

  test(`${kind}: a replayed code ends the grant`, async () => {
    const party = new RelyingParty(client, authentication);
    await party.authorize();
    const tokens = await party.exchange();
    await assert.rejects(party.exchange(), refused('invalid_grant'));
    await assertOver(party, tokens);
  });

  test(`${kind}: a revoked access token ends the grant`, async () => {
    const party = new RelyingParty(client, authentication);
    await party.authorize();
    const tokens = await party.exchange();
    await party.revoke(tokens.access_token);
    await assertOver(party, tokens);
  });
}

test('a refused exchange leaves the code as it was', async () => {
  const party = new RelyingParty(confidentialClient, oauth.ClientSecretPost('not-the-secret'));
  await party.authorize();
  const { verifier } = party;
  await assert.rejects(party.exchange(), refused('invalid_client', 401));
  party.authentication = oauth.ClientSecretBasic('not-the-secret');
  await assert.rejects(party.exchange(), {
    name: 'WWWAuthenticateChallengeError',
    status: 401,
    cause: [{ scheme: 'basic', parameters: { realm: 'tokenmint' } }],
  });
  party.authentication = oauth.ClientSecretBasic(confidentialClient.secret);
  party.verifier = oauth.generateRandomCodeVerifier();
  await assert.rejects(party.exchange(), refused('invalid_grant'));
  party.verifier = verifier;
  assertUserAccessToken((await party.exchange()).access_token, confidentialClient);
});

test('client_credentials and RFC 9068', async () => {
  for (const authentication of [oauth.ClientSecretBasic(key.secret), oauth.ClientSecretPost(key.secret)]) {
    const api = new RelyingParty({ id: registration }, authentication);
    const { access_token, ...rest } = await api.clientCredentials();
    assert.deepEqual(rest, { token_type: 'bearer', expires_in: API_TOKEN_SECONDS, scope: API_SCOPE });
    const claims = assertApiAccessToken(access_token, registration);
    assert.deepEqual(await validate(access_token, url), claims);
    await assert.rejects(validate(access_token, 'https://other.example.com'), { code: oauth.JWT_CLAIM_COMPARISON });
    const forged = `${access_token.slice(0, access_token.lastIndexOf('.'))}.${'A'.repeat(342)}`;
    await assert.rejects(validate(forged, url), /signature verification failed/);
    await api.revoke(access_token);
    assert.deepEqual(await inspector.introspect(access_token), { active: false });
  }
});

test('an access token that has expired is refused', async () => {
  const jwt = await createToken(tenant, await tenant.createRegistration({ tokenTtlSeconds: 1 }));
  await new Promise((resolve) => setTimeout(resolve, 2_100));
  await assert.rejects(validate(jwt, url), { code: oauth.JWT_TIMESTAMP_CHECK });
  assert.deepEqual(await inspector.introspect(jwt), { active: false });
});

test('machines get tokens of a registration whose quota is full', async () => {
  const single = await tenant.createRegistration({ maxAllowed: 1 });
  await createToken(tenant, single);
  const { message } = await call(key, 'create-token', 400, { registrationId: single });
  assert.equal(message, 'Active token quota exceeded or registration not found');
  const api = new RelyingParty({ id: single }, oauth.ClientSecretBasic(key.secret));
  assertApiAccessToken((await api.clientCredentials()).access_token, single);
});

test('an API takes the tokens that are for it, and no others', async () => {
  const api = new RelyingParty({ id: registration }, oauth.ClientSecretBasic(key.secret));
  const mismatch = { code: oauth.JWT_CLAIM_COMPARISON };
  const tokenFor = async (...resources) => {
    const parameters = new URLSearchParams(resources.map((resource) => ['resource', resource]));
    return (await api.clientCredentials(parameters)).access_token;
  };
  const orders = await tokenFor(ORDERS);
  const claims = assertApiAccessToken(orders, registration, API_SCOPE, ORDERS);
  assert.deepEqual(await validate(orders, ORDERS), claims);
  await assert.rejects(validate(orders, BILLING), mismatch);
  await assert.rejects(validate(orders, url), mismatch);

  const billing = await tokenFor(BILLING);
  assert.equal((await validate(billing, BILLING)).aud, BILLING);
  await assert.rejects(validate(billing, ORDERS), mismatch);

  const both = await tokenFor(BILLING, ORDERS);
  for (const audience of [ORDERS, BILLING]) {
    assert.deepEqual((await validate(both, audience)).aud, [BILLING, ORDERS]);
  }
  await assert.rejects(validate(both, url), mismatch);
  await assert.rejects(validate(await tokenFor(), ORDERS), mismatch);
  await assert.rejects(tokenFor(ORDERS, 'https://other.example.com'), refused('invalid_target'));
});

test("a user's token is for the APIs that the login was for", async () => {
  const party = new RelyingParty(publicClient, oauth.None());
  await party.authorize(ORDERS, BILLING);
  const tokens = await party.exchange();
  assertUserAccessToken(tokens.access_token, publicClient, SCOPE, [ORDERS, BILLING]);
  assertIdToken(tokens.id_token, tokens.access_token, publicClient, party.nonce);
  for (const audience of [ORDERS, BILLING]) assert.equal((await validate(tokens.access_token, audience)).sub, USER.sub);
  await assert.rejects(validate(tokens.access_token, url), { code: oauth.JWT_CLAIM_COMPARISON });

  const narrow = await party.refresh(tokens.refresh_token, { resource: BILLING });
  assertUserAccessToken(narrow.access_token, publicClient, SCOPE, BILLING);
  assert.equal((await validate(narrow.access_token, BILLING)).sub, USER.sub);
  await assert.rejects(validate(narrow.access_token, ORDERS), { code: oauth.JWT_CLAIM_COMPARISON });
});

test('a grant begun in this dialect goes on in the other', async () => {
  const party = new RelyingParty(publicClient, oauth.None());
  await party.authorize();
  const { refresh_token } = await party.exchange();
  const body = {
    client_id: publicClient.id, service: 'email', grant_type: 'refresh_token', redirect_uri: REDIRECT_URI, refresh_token,
  };
  const response = await fetch(`${url}/api/v1/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 201);
  const { refreshToken, accessToken } = (await response.json()).items[0];
  // That dialect's access token is of another type, so an API that follows RFC 9068 refuses it.
  await assert.rejects(validate(accessToken, publicClient.id), { code: oauth.INVALID_RESPONSE });
  const tokens = await party.refresh(refreshToken);
  assertUserAccessToken(tokens.access_token, publicClient);
});
