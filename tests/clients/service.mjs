// What the scripts for Node.js share: entities of their own in the local stack, and the part of the login service.

import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';

/** The stack's URL, which is the issuer too. */
export const url = process.env.SERVICE_URL;
export const REDIRECT_URI = 'https://app.example.com/callback';
export const SCOPE = 'openid profile email';
/** The user, as a client must see it with all of `SCOPE`. */
export const USER = { sub: 'user-1', name: 'Zoë Example', email: 'zoe@example.com', email_verified: true };
/** When the user logged in. */
export const AUTH_TIME = Math.floor(Date.now() / 1000) - 60;
/** The scopes of the registration. */
export const API_SCOPE = 'orders:read orders:write';
export const API_TOKEN_SECONDS = 600;

/** Invokes a function as the AWS SDK does. */
export async function invoke(name, event) {
  const response = await fetch(`${url}/2015-03-31/functions/${name}/invocations`, {
    method: 'POST',
    body: JSON.stringify(event),
  });
  const answer = await response.json();
  assert.equal(response.headers.get('x-amz-function-error'), null, JSON.stringify(answer));
  return answer;
}

export const provision = (action, fields) => invoke('provision', { action, ...fields });

/** An organization with an API key, a registration, a public client and a confidential one. */
export async function createTenant() {
  const { organizationId } = await provision('createOrganization', { slug: `clients-${randomUUID()}` });
  const createKey = async (...permissions) => {
    const { apiKeyId, apiKey } = await provision('createApiKey', { organizationId, permissions });
    return { id: apiKeyId, secret: apiKey };
  };
  const createRegistration = async (fields) => {
    const scopes = API_SCOPE.split(' ');
    const registration = { organizationId, name: 'clients', scopes, tokenTtlSeconds: API_TOKEN_SECONDS, ...fields };
    return (await provision('createRegistration', registration)).registrationId;
  };
  const createClient = async (confidential) => {
    const scopes = SCOPE.split(' ');
    const client = { organizationId, redirectUris: [REDIRECT_URI], services: ['email'], scopes, confidential };
    const { clientId, clientSecret } = await provision('createClient', client);
    return { id: clientId, secret: clientSecret };
  };
  return {
    organizationId,
    createKey,
    createRegistration,
    /** May get tokens for the registration. */
    key: await createKey('oauth.token.create'),
    /** May introspect. */
    introspector: await createKey('oauth.token.introspect'),
    registration: await createRegistration(),
    publicClient: await createClient(false),
    confidentialClient: await createClient(true),
  };
}

/** Does what the login service does with an authorization request. Returns the URL to which it sends the browser. */
export async function login(request) {
  const query = new URL(request).searchParams;
  assert.equal(query.get('response_type'), 'code');
  assert.equal(query.get('code_challenge_method'), 'S256');
  const { sub, ...claims } = USER;
  const { code } = await invoke('issue-code', {
    clientId: query.get('client_id'),
    service: 'email',
    redirectUri: query.get('redirect_uri'),
    subject: sub,
    scope: query.get('scope'),
    state: query.get('state') ?? undefined,
    nonce: query.get('nonce') ?? undefined,
    codeChallenge: query.get('code_challenge'),
    authTime: AUTH_TIME,
    claims,
  });
  const callback = new URL(query.get('redirect_uri'));
  for (const [name, value] of Object.entries({ code, state: query.get('state'), iss: url })) {
    if (value !== null) callback.searchParams.set(name, value);
  }
  return callback;
}

export function decode(jwt) {
  const [header, payload] = jwt.split('.').map((part) => Buffer.from(part, 'base64url').toString());
  return { header: JSON.parse(header), claims: JSON.parse(payload) };
}

/** Asserts that the claims are exactly these, and of those that are new in every token the names and forms. */
export function assertClaims(claims, expected, lifetime, ...unique) {
  const { iat, exp, ...rest } = claims;
  assert.ok(Number.isInteger(iat) && Math.abs(iat - Date.now() / 1000) < 30, `iat: ${iat}`);
  assert.equal(exp - iat, lifetime);
  for (const name of unique) {
    assert.match(rest[name], /^[0-9A-Za-z_-]{16,}$/, name);
    delete rest[name];
  }
  assert.deepEqual(rest, expected);
}

/** Asserts what a user's access token says. */
export function assertUserAccessToken(jwt, client, scope = SCOPE) {
  const { header, claims } = decode(jwt);
  assert.deepEqual({ ...header, kid: typeof header.kid }, { alg: 'RS256', typ: 'at+jwt', kid: 'string' });
  const expected = { iss: url, sub: USER.sub, aud: url, client_id: client.id, scope, auth_time: AUTH_TIME };
  assertClaims(claims, expected, 3600, 'jti', 'sid');
  return claims;
}

/** Asserts what an ID token says. Without a `nonce` it must have none. */
export function assertIdToken(jwt, accessToken, client, nonce) {
  const { header, claims } = decode(jwt);
  assert.deepEqual({ ...header, kid: typeof header.kid }, { alg: 'RS256', typ: 'JWT', kid: 'string' });
  const expected = { iss: url, aud: client.id, auth_time: AUTH_TIME, at_hash: halfHash(accessToken), ...USER };
  if (nonce !== undefined) expected.nonce = nonce;
  assertClaims(claims, expected, 3600, 'sid');
  return claims;
}

/** Asserts what an access token of the registration says. */
export function assertApiAccessToken(jwt, registration, scope = API_SCOPE) {
  const { header, claims } = decode(jwt);
  assert.deepEqual({ ...header, kid: typeof header.kid }, { alg: 'RS256', typ: 'at+jwt', kid: 'string' });
  const expected = { iss: url, sub: registration, aud: url, client_id: registration, scope };
  assertClaims(claims, expected, API_TOKEN_SECONDS, 'jti');
  return claims;
}

/** OpenID Connect Core, 3.1.3.6. */
function halfHash(accessToken) {
  return createHash('sha256').update(accessToken).digest().subarray(0, 16).toString('base64url');
}
