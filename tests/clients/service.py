"""What the scripts for Python share: entities of their own in the local stack, and the part of the login service."""

import base64
import hashlib
import json
import os
import time
import uuid
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from joserfc import jwt
from joserfc.jwk import KeySet

# The stack's URL, which is the issuer too.
URL = os.environ["SERVICE_URL"]
REDIRECT_URI = "https://app.example.com/callback"
SCOPES = ["openid", "profile", "email"]
# The user, as a client must see it with all of SCOPES.
USER = {"sub": "user-1", "name": "Zoë Example", "email": "zoe@example.com", "email_verified": True}
# When the user logged in.
AUTH_TIME = int(time.time()) - 60
# The scopes of the registration.
API_SCOPES = ["orders:read", "orders:write"]
# The lifetime of a machine token.
API_TOKEN_SECONDS = 600
# The APIs that tokens of the registration and of both clients can be for, besides the deployment's own audience.
ORDERS = "https://orders.example.com"
BILLING = "https://billing.example.com"
# The organization of each registration and client that was created here.
ORGANIZATIONS = {}


def invoke(name, event):
    """Invokes a function as the AWS SDK does."""
    answer = requests.post(f"{URL}/2015-03-31/functions/{name}/invocations", data=json.dumps(event), timeout=30)
    assert "x-amz-function-error" not in answer.headers, answer.text
    return answer.json()


def provision(action, **fields):
    return invoke("provision", {"action": action, **fields})


class Tenant:
    """An organization with API keys, a registration, a public client and a confidential one."""

    def __init__(self):
        self.organization = provision("createOrganization", slug=f"clients-{uuid.uuid4()}")["organizationId"]
        # May get tokens for the registration.
        self.key = self.create_key("oauth.token.create")
        # May introspect.
        self.introspector = self.create_key("oauth.token.introspect")
        self.registration = provision(
            "createRegistration",
            organizationId=self.organization,
            name="clients",
            scopes=API_SCOPES,
            clientCredentialsTtlSeconds=API_TOKEN_SECONDS,
            audiences=[ORDERS, BILLING],
        )["registrationId"]
        ORGANIZATIONS[self.registration] = self.organization
        self.public_client, _ = self.create_client(confidential=False)
        self.confidential_client, self.client_secret = self.create_client(confidential=True)

    def create_key(self, *permissions):
        """Returns the id and the secret, as requests takes them for Basic authentication."""
        key = provision("createApiKey", organizationId=self.organization, permissions=permissions)
        return key["apiKeyId"], key["apiKey"]

    def create_client(self, confidential):
        client = provision(
            "createClient",
            organizationId=self.organization,
            redirectUris=[REDIRECT_URI],
            services=["email"],
            scopes=SCOPES,
            confidential=confidential,
        )
        ORGANIZATIONS[client["clientId"]] = self.organization
        return client["clientId"], client.get("clientSecret")


def login(request):
    """Does what the login service does with an authorization request. Returns the URL to which it sends the browser."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(request).query).items()}
    assert query["response_type"] == "code" and query["code_challenge_method"] == "S256", query
    event = {
        "clientId": query["client_id"],
        "service": "email",
        "redirectUri": query["redirect_uri"],
        "subject": USER["sub"],
        "scope": query["scope"],
        "state": query["state"],
        "codeChallenge": query["code_challenge"],
        "authTime": AUTH_TIME,
        "claims": {name: value for name, value in USER.items() if name != "sub"},
    }
    if "nonce" in query:
        event["nonce"] = query["nonce"]
    code = invoke("issue-code", event)["code"]
    return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state'], 'iss': URL})}"


def decode(token):
    """Returns header and claims of a JWT that a published key has signed."""
    keys = KeySet.import_key_set(requests.get(f"{URL}/.well-known/jwks.json", timeout=30).json())
    decoded = jwt.decode(token, keys, algorithms=["RS256"])
    return decoded.header, decoded.claims


def access_token_hash(token):
    """OpenID Connect Core, 3.1.3.6."""
    half = hashlib.sha256(token.encode()).digest()[:16]
    return base64.urlsafe_b64encode(half).decode().rstrip("=")


def assert_claims(test, claims, expected, lifetime, *unique):
    """Asserts that the claims are exactly these, and of those that are new in every token the names and forms."""
    claims = dict(claims)
    issued_at, expires_at = claims.pop("iat"), claims.pop("exp")
    test.assertIsInstance(issued_at, int)
    test.assertLess(abs(issued_at - time.time()), 30)
    test.assertEqual(expires_at - issued_at, lifetime)
    for name in unique:
        test.assertRegex(claims.pop(name), r"^[0-9A-Za-z_-]{16,}$")
    test.assertEqual(claims, expected)


def assert_user_access_token(test, token, client, scope=" ".join(SCOPES)):
    header, claims = decode(token)
    test.assertEqual((header["typ"], header["alg"]), ("at+jwt", "RS256"))
    expected = {
        "iss": URL,
        "sub": USER["sub"],
        "aud": URL,
        "client_id": client,
        "scope": scope,
        "auth_time": AUTH_TIME,
        "organization": ORGANIZATIONS[client],
    }
    assert_claims(test, claims, expected, 3600, "jti", "sid")
    return claims


def assert_api_access_token(test, token, registration, scope=" ".join(API_SCOPES), aud=URL):
    header, claims = decode(token)
    test.assertEqual((header["typ"], header["alg"]), ("at+jwt", "RS256"))
    assert_machine_claims(test, claims, registration, ORGANIZATIONS[registration], API_TOKEN_SECONDS, scope, aud)
    return claims


def assert_machine_claims(
    test, claims, registration, organization, lifetime, scope=" ".join(API_SCOPES), aud=URL
):
    claims = dict(claims)
    test.assertIsInstance(claims.pop("gen"), int)
    expected = {
        "iss": URL,
        "sub": registration,
        "aud": aud,
        "client_id": registration,
        "scope": scope,
        "organization": organization,
    }
    assert_claims(test, claims, expected, lifetime, "jti")


def assert_many_tokens(test, connect):
    """Gets many tokens of the machine that all clients share, and asserts that the last one is as good as the first: its
    quota is a single token. `connect` returns a function that gets a token with this secret."""
    count = int(os.environ.get("TOKENS", 2000))
    machine = json.loads(os.environ["MACHINE"])
    registration = machine["registration"]
    clients = [connect(registration, secret) for secret in machine["secrets"]]
    keys = KeySet.import_key_set(requests.get(f"{URL}/.well-known/jwks.json", timeout=30).json())
    tokens, ids, generations = [], set(), set()
    for number in range(count):
        answer = clients[number % len(clients)]()
        test.assertEqual((answer["token_type"], answer["expires_in"]), ("Bearer", 3600))
        claims = jwt.decode(answer["access_token"], keys, algorithms=["RS256"]).claims
        assert_machine_claims(test, claims, registration, machine["organization"], 3600)
        tokens.append(answer["access_token"])
        ids.add(claims["jti"])
        generations.add(claims["gen"])
    test.assertEqual(len(ids), count)
    test.assertEqual(len(generations), 1)

    answer = requests.post(
        f"{URL}/api/v1/list-tokens",
        json={"registrationId": registration},
        headers={"authorization": f"Bearer {machine['lister']['secret']}"},
        timeout=30,
    )
    test.assertEqual(answer.status_code, 200, answer.text)
    listed = answer.json()
    test.assertEqual((listed["tokens"], listed["activeTokens"], listed["maxAllowed"]), ([], 0, 1))
    for token in (tokens[0], tokens[-1]):
        answer = requests.post(
            f"{URL}/oauth2/introspect",
            data={"token": token},
            headers={"authorization": f"Bearer {machine['introspector']['secret']}"},
            timeout=30,
        )
        test.assertEqual(answer.json()["active"], True)
