// aws-jwt-verify, AWS's own verifier, as Lambda authorizers and APIs use it. It has no client: the tokens come from plain
// requests.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';

import { JwtVerifier } from 'aws-jwt-verify';
import {
  JwtExpiredError,
  JwtInvalidAudienceError,
  JwtInvalidIssuerError,
  JwtInvalidScopeError,
  JwtInvalidSignatureError,
  JwtParseError,
} from 'aws-jwt-verify/error';
import { SimpleJwksCache } from 'aws-jwt-verify/jwk';

import {
  API_SCOPE,
  BILLING,
  LoopbackFetcher,
  ORDERS,
  REDIRECT_URI,
  SCOPE,
  assertApiAccessToken,
  assertIdToken,
  assertUserAccessToken,
  createTenant,
  createToken,
  login,
  url,
} from './service.mjs';

const tenant = await createTenant();
const discovery = await (await fetch(`${url}/.well-known/openid-configuration`)).json();

const fetcher = new LoopbackFetcher();
const jwksCache = new SimpleJwksCache({ fetcher });

/** A verifier that finds the keys by the issuer alone. */
function verifier(audience, more) {
  return JwtVerifier.create({ issuer: discovery.issuer, audience, ...more }, { jwksCache });
}

async function post(endpoint, parameters) {
  const response = await fetch(endpoint, { method: 'POST', body: new URLSearchParams(parameters) });
  return { status: response.status, ...(await response.json()) };
}

const token = (parameters) => post(discovery.token_endpoint, parameters);

async function apiToken(registration, parameters, resources = []) {
  const request = { grant_type: 'client_credentials', client_id: registration, client_secret: tenant.key.secret };
  const form = Object.entries({ ...request, ...parameters });
  const answer = await token([...form, ...resources.map((resource) => ['resource', resource])]);
  assert.equal(answer.status, 200, JSON.stringify(answer));
  return answer.access_token;
}

const client_id = tenant.publicClient.id;

async function userTokens() {
  const code_verifier = randomBytes(32).toString('base64url');
  const request = new URL(discovery.authorization_endpoint);
  request.search = new URLSearchParams({
    client_id,
    redirect_uri: REDIRECT_URI,
    response_type: 'code',
    scope: SCOPE,
    nonce: 'a-nonce',
    code_challenge: createHash('sha256').update(code_verifier).digest('base64url'),
    code_challenge_method: 'S256',
  });
  const code = (await login(request)).searchParams.get('code');
  const exchange = () =>
    token({ grant_type: 'authorization_code', client_id, redirect_uri: REDIRECT_URI, code, code_verifier });
  const tokens = await exchange();
  assert.equal(tokens.status, 200, JSON.stringify(tokens));
  return { exchange, tokens };
}

test('the access token of client_credentials', async () => {
  const { registration } = tenant;
  const jwt = await apiToken(registration);
  const claims = assertApiAccessToken(jwt, registration);
  assert.deepEqual(await verifier(url).verify(jwt), claims);
  assert.deepEqual(await verifier(url, { scope: 'orders:read' }).verify(jwt), claims);
  assert.deepEqual(await verifier(url, { scope: ['admin', 'orders:write'] }).verify(jwt), claims);
  const narrow = await apiToken(registration, { scope: 'orders:read' });
  await assert.rejects(verifier(url, { scope: 'orders:write' }).verify(narrow), JwtInvalidScopeError);
  await assert.rejects(verifier(registration).verify(jwt), JwtInvalidAudienceError);
  await assert.rejects(verifier('https://other.example.com').verify(jwt), JwtInvalidAudienceError);

  const otherIssuer = { issuer: 'https://other.example.com', jwksUri: discovery.jwks_uri, audience: url };
  await assert.rejects(JwtVerifier.create(otherIssuer, { jwksCache }).verify(jwt), JwtInvalidIssuerError);
  const [header, payload, signature] = jwt.split('.');
  const wider = Buffer.from(JSON.stringify({ ...claims, scope: `${API_SCOPE} admin` })).toString('base64url');
  await assert.rejects(verifier(url).verify(`${header}.${wider}.${signature}`), JwtInvalidSignatureError);
  assert.deepEqual(await verifier(url).verify(`${header}.${payload}.${signature}`), claims);
});

test('an access token that has expired', async () => {
  const registration = await tenant.createRegistration({ tokenTtlSeconds: 1 });
  const jwt = await createToken(tenant, registration);
  await new Promise((resolve) => setTimeout(resolve, 2_100));
  await assert.rejects(verifier(url).verify(jwt), JwtExpiredError);
  const late = await verifier(url, { graceSeconds: 60 }).verify(jwt);
  assert.deepEqual([late.sub, late.exp - late.iat], [registration, 1]);
});

test('an API that goes by two names', async () => {
  const { registration } = tenant;
  const both = verifier([ORDERS, BILLING]);
  for (const resources of [[ORDERS], [BILLING], [BILLING, ORDERS], [url, ORDERS]]) {
    const jwt = await apiToken(registration, {}, resources);
    const claims = assertApiAccessToken(jwt, registration, API_SCOPE, resources.length > 1 ? resources : resources[0]);
    assert.deepEqual(await both.verify(jwt), claims);
  }
  await assert.rejects(both.verify(await apiToken(registration)), JwtInvalidAudienceError);
  const billing = await apiToken(registration, {}, [BILLING]);
  for (const other of [ORDERS, [ORDERS, url], registration]) {
    await assert.rejects(verifier(other).verify(billing), JwtInvalidAudienceError);
  }
});

test("a user's access token and ID token", async () => {
  const { exchange, tokens } = await userTokens();
  const access = assertUserAccessToken(tokens.access_token, tenant.publicClient);
  const id = assertIdToken(tokens.id_token, tokens.access_token, tenant.publicClient, 'a-nonce');
  assert.deepEqual(await verifier(url, { scope: 'email' }).verify(tokens.access_token), access);
  assert.deepEqual(await verifier(client_id).verify(tokens.id_token), id);
  // Neither is taken for the other.
  await assert.rejects(verifier(client_id).verify(tokens.access_token), JwtInvalidAudienceError);
  await assert.rejects(verifier(url).verify(tokens.id_token), JwtInvalidAudienceError);

  const { refresh_token } = tokens;
  const next = await token({ grant_type: 'refresh_token', client_id, refresh_token });
  const nextClaims = assertUserAccessToken(next.access_token, tenant.publicClient);
  assert.deepEqual(await verifier(url).verify(next.access_token), nextClaims);
  assertIdToken(next.id_token, next.access_token, tenant.publicClient);
  const replay = await exchange();
  assert.deepEqual([replay.status, replay.error], [400, 'invalid_grant']);
  const over = await token({ grant_type: 'refresh_token', client_id, refresh_token: next.refresh_token });
  assert.deepEqual([over.status, over.error], [400, 'invalid_grant']);
});

test('a revoked token verifies until it expires: that is what introspection is for', async () => {
  const { registration, introspector } = tenant;
  const jwt = await apiToken(registration);
  assert.deepEqual(await post(discovery.revocation_endpoint, { token: jwt }), { status: 200 });
  assert.equal((await verifier(url).verify(jwt)).sub, registration);
  const caller = { client_id: introspector.id, client_secret: introspector.secret };
  const shown = await post(discovery.introspection_endpoint, { token: jwt, ...caller });
  assert.deepEqual(shown, { status: 200, active: false });
});

test('the token of create-token without its prefix', async () => {
  const jwt = await createToken(tenant, tenant.registration);
  await assert.rejects(verifier(url).verify(`oauth2_${jwt}`), JwtParseError);
  const claims = await verifier(url, { scope: 'orders:read' }).verify(jwt);
  assert.deepEqual([claims.client_id, claims.organization], [tenant.registration, tenant.organizationId]);
});

test('the keys were fetched once', async () => {
  const { keys } = await jwksCache.getJwks(discovery.jwks_uri);
  assert.deepEqual(keys.map(({ kty, alg, use }) => ({ kty, alg, use })), [{ kty: 'RSA', alg: 'RS256', use: 'sig' }]);
  assert.equal(fetcher.fetches, 2);
});
