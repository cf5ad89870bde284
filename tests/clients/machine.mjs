// Creates the machine that all clients share, and prints what they need: a registration whose quota is a single token, its own
// secret, and API keys of its organization.

import { API_SCOPE, createTenant, provision } from './service.mjs';

const { organizationId, createKey, key, introspector } = await createTenant();
const { registrationId, clientSecret } = await provision('createRegistration', {
  organizationId,
  name: 'a machine',
  maxAllowed: 1,
  scopes: API_SCOPE.split(' '),
  confidential: true,
});
console.log(
  JSON.stringify({
    organization: organizationId,
    registration: registrationId,
    secrets: [key.secret, clientSecret],
    lister: await createKey('oauth.token.list'),
    introspector,
  }),
);
