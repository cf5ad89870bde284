// What the scripts for Node.js share: entities of their own in the local stack, and the part of the login service.

import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';

import { createRemoteJWKSet, jwtVerify } from 'jose';

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
/** The lifetime of a machine token. */
export const API_TOKEN_SECONDS = 600;
/** The APIs that tokens of the registration and of both clients can be for, besides the deployment's own audience. */
export const ORDERS = 'https://orders.example.com';
export const BILLING = 'https://billing.example.com';

/** Invokes a function of this stack as the AWS SDK does. */
export async function invokeAt(stack, name, event) {
  const response = await fetch(`${stack}/2015-03-31/functions/${name}/invocations`, {
    method: 'POST',
    body: JSON.stringify(event),
  });
  const answer = await response.json();
  if (response.headers.has('x-amz-function-error')) {
    throw Object.assign(new Error(answer.errorMessage), { name: answer.errorType });
  }
  return answer;
}

const invoke = (name, event) => invokeAt(url, name, event);

export const provision = (action, fields) => invoke('provision', { action, ...fields });

/** The organization of each registration and client that was created here. */
const organizations = new Map();

/** An organization with an API key, a registration, a public client and a confidential one. */
export async function createTenant() {
  const { organizationId } = await provision('createOrganization', { slug: `clients-${randomUUID()}` });
  const createKey = async (...permissions) => {
    const { apiKeyId, apiKey } = await provision('createApiKey', { organizationId, permissions });
    return { id: apiKeyId, secret: apiKey };
  };
  const createRegistration = async (fields) => {
    const scopes = API_SCOPE.split(' ');
    const { registrationId } = await provision('createRegistration', {
      organizationId,
      name: 'clients',
      scopes,
      clientCredentialsTtlSeconds: API_TOKEN_SECONDS,
      audiences: [ORDERS, BILLING],
      ...fields,
    });
    organizations.set(registrationId, organizationId);
    return registrationId;
  };
  const createClient = async (confidential) => {
    const scopes = SCOPE.split(' ');
    const audiences = [ORDERS, BILLING];
    const client = { organizationId, redirectUris: [REDIRECT_URI], services: ['email'], scopes, audiences, confidential };
    const { clientId, clientSecret } = await provision('createClient', client);
    organizations.set(clientId, organizationId);
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
    resource: query.has('resource') ? query.getAll('resource') : undefined,
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

/** Gets a token of `create-token`, and returns the JWT without its prefix. */
export async function createToken({ key }, registrationId) {
  const { token } = await call(key, 'create-token', 201, { registrationId });
  assert.match(token.accessToken, /^oauth2_/);
  return token.accessToken.replace('oauth2_', '');
}

/** Calls a route of the JSON API with an API key. */
export async function call(key, route, status, body) {
  const response = await fetch(`${url}/api/v1/${route}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key.secret}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  assert.equal(response.status, status, JSON.stringify(answer));
  return answer;
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
export function assertUserAccessToken(jwt, client, scope = SCOPE, aud = url) {
  const { header, claims } = decode(jwt);
  assert.deepEqual({ ...header, kid: typeof header.kid }, { alg: 'RS256', typ: 'at+jwt', kid: 'string' });
  const organization = organizations.get(client.id);
  const expected = { iss: url, sub: USER.sub, aud, client_id: client.id, scope, auth_time: AUTH_TIME, organization };
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

/** Asserts what a machine token says. */
export function assertApiAccessToken(jwt, registration, scope = API_SCOPE, aud = url) {
  const { header, claims } = decode(jwt);
  assert.deepEqual({ ...header, kid: typeof header.kid }, { alg: 'RS256', typ: 'at+jwt', kid: 'string' });
  const { gen, ...rest } = claims;
  assert.ok(Number.isInteger(gen), `gen: ${gen}`);
  const organization = organizations.get(registration);
  const expected = { iss: url, sub: registration, aud, client_id: registration, scope, organization };
  assertClaims(rest, expected, API_TOKEN_SECONDS, 'jti');
  return claims;
}

/**
 * Gets many tokens of the machine that all clients share, and asserts that the last one is as good as the first: its
 * quota is a single token. `connect` returns a function that gets a token with this secret.
 */
export async function assertManyTokens(connect) {
  const count = Number(process.env.TOKENS ?? 2_000);
  const { organization, registration, secrets, lister, introspector } = JSON.parse(process.env.MACHINE);
  const clients = await Promise.all(secrets.map((secret) => connect(registration, secret)));
  const keys = createRemoteJWKSet(new URL(`${url}/.well-known/jwks.json`));
  const expected = { iss: url, sub: registration, aud: url, client_id: registration, scope: API_SCOPE, organization };
  const [tokens, ids, generations] = [[], new Set(), new Set()];
  let begun = 0;
  const getTokens = async () => {
    while (begun < count) {
      const client = clients[begun % clients.length];
      begun += 1;
      const { access_token, token_type, expires_in, scope } = await client();
      assert.deepEqual([token_type.toLowerCase(), expires_in, scope], ['bearer', 3600, API_SCOPE]);
      const { payload } = await jwtVerify(access_token, keys, { typ: 'at+jwt' });
      const { gen, ...claims } = payload;
      assertClaims(claims, expected, 3600, 'jti');
      tokens.push(access_token);
      ids.add(payload.jti);
      generations.add(gen);
    }
  };
  await Promise.all(Array.from({ length: 8 }, getTokens));
  assert.equal(ids.size, count);
  assert.equal(generations.size, 1);
  assert.ok(Number.isInteger([...generations][0]));

  const list = await call(lister, 'list-tokens', 200, { registrationId: registration });
  assert.deepEqual([list.tokens, list.activeTokens, list.maxAllowed], [[], 0, 1]);
  for (const token of [tokens[0], tokens.at(-1)]) {
    const response = await fetch(`${url}/oauth2/introspect`, {
      method: 'POST',
      headers: { authorization: `Bearer ${introspector.secret}` },
      body: new URLSearchParams({ token }),
    });
    assert.equal((await response.json()).active, true);
  }
}

/** The own fetcher of `aws-jwt-verify` speaks HTTPS only. This is how it is replaced by its documentation. */
export class LoopbackFetcher {
  fetches = 0;

  async fetch(uri) {
    this.fetches += 1;
    const response = await fetch(uri);
    assert.equal(response.status, 200);
    return response.arrayBuffer();
  }
}

/** OpenID Connect Core, 3.1.3.6. */
function halfHash(accessToken) {
  return createHash('sha256').update(accessToken).digest().subarray(0, 16).toString('base64url');
}
