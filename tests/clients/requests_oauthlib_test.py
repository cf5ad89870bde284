"""requests-oauthlib, the client of Python scripts. Two of its habits are here as they are: for a public client it sends Basic with
an empty secret and no client_id in the body, and on a refresh no client_id at all."""

import unittest
from urllib.parse import parse_qs

import requests
from oauthlib.oauth2 import (
    BackendApplicationClient,
    InvalidClientError,
    InvalidGrantError,
    InvalidScopeError,
    MismatchingStateError,
    UnauthorizedClientError,
)
from requests_oauthlib import OAuth2Session

from service import (
    API_SCOPES,
    API_TOKEN_SECONDS,
    AUTH_TIME,
    REDIRECT_URI,
    SCOPES,
    URL,
    USER,
    Tenant,
    access_token_hash,
    assert_api_access_token,
    assert_claims,
    assert_many_tokens,
    assert_user_access_token,
    decode,
    login,
)

TENANT = Tenant()
SERVER = requests.get(f"{URL}/.well-known/openid-configuration", timeout=30).json()
TOKEN = SERVER["token_endpoint"]


def authorize(client):
    """Returns a session whose user has logged in, and the callback URL."""
    session = OAuth2Session(client, redirect_uri=REDIRECT_URI, scope=SCOPES, pkce="S256")
    # The requests that this session sends to the token endpoint.
    session.sent = []
    session.hooks["response"].append(lambda answer, **_: session.sent.append(answer.request))
    request, _ = session.authorization_url(SERVER["authorization_endpoint"], nonce="a-nonce")
    return session, login(request)


def introspect(token):
    answer = requests.post(SERVER["introspection_endpoint"], data={"token": token}, auth=TENANT.introspector, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


class RequestsOauthlib(unittest.TestCase):
    def revoke(self, session, token, hint, **request):
        """Sends the request that oauthlib prepares."""
        url, headers, body = session._client.prepare_token_revocation_request(
            SERVER["revocation_endpoint"], token, token_type_hint=hint
        )
        answer = requests.post(url, data=body, headers=headers, timeout=30, **request)
        self.assertEqual((answer.status_code, answer.json()), (200, {}))

    def assert_over(self, session, token, **refresh):
        """Asserts that nothing of a grant works any more."""
        self.assertEqual(introspect(token["access_token"]), {"active": False})
        self.assertEqual(introspect(token["refresh_token"]), {"active": False})
        session.token = token
        answer = session.get(SERVER["userinfo_endpoint"])
        self.assertEqual((answer.status_code, answer.json()["error"]), (401, "invalid_token"))
        with self.assertRaises(InvalidGrantError):
            session.refresh_token(TOKEN, refresh_token=token["refresh_token"], **refresh)

    def assert_tokens(self, token, client, nonce=None):
        """Asserts what the client makes of the answer. It leaves the ID token to others."""
        self.assertEqual(token["token_type"], "Bearer")
        self.assertEqual(token["expires_in"], 3600)
        self.assertEqual(list(token["scope"]), SCOPES)
        claims = assert_user_access_token(self, token["access_token"], client)
        header, id_claims = decode(token["id_token"])
        self.assertEqual(header["typ"], "JWT")
        self.assertEqual(id_claims["sid"], claims["sid"])
        at_hash = access_token_hash(token["access_token"])
        expected = {"iss": URL, "aud": client, "auth_time": AUTH_TIME, "at_hash": at_hash, **USER}
        if nonce:
            expected["nonce"] = nonce
        assert_claims(self, id_claims, expected, 3600, "sid")
        return claims

    def test_a_public_client_as_it_is_by_default(self):
        client = TENANT.public_client
        session, callback = authorize(client)
        first = session.fetch_token(TOKEN, authorization_response=callback)
        sent = session.sent.pop()
        self.assertEqual(sent.headers["authorization"], requests.auth._basic_auth_str(client, ""))
        self.assertNotIn("client_id", parse_qs(sent.body))
        claims = self.assert_tokens(first, client, "a-nonce")
        self.assertEqual(session.get(SERVER["userinfo_endpoint"]).json(), USER)
        self.assertEqual(
            introspect(first["access_token"]),
            {
                "active": True,
                "scope": " ".join(SCOPES),
                "client_id": client,
                "sub": USER["sub"],
                "token_type": "Bearer",
                "iss": URL,
                "aud": URL,
                "iat": claims["iat"],
                "exp": claims["exp"],
                "jti": claims["jti"],
                "sid": claims["sid"],
                "organization": TENANT.organization,
            },
        )

        second = session.refresh_token(TOKEN)
        sent = session.sent.pop()
        self.assertNotIn("authorization", sent.headers)
        self.assertNotIn("client_id", parse_qs(sent.body))
        self.assertEqual(parse_qs(sent.body)["scope"], [" ".join(SCOPES)])
        self.assertNotEqual(second["refresh_token"], first["refresh_token"])
        self.assertEqual(self.assert_tokens(second, client)["sid"], claims["sid"])
        self.assertEqual(session.get(SERVER["userinfo_endpoint"]).json(), USER)

        self.revoke(session, second["refresh_token"], "refresh_token")
        self.assert_over(session, second)

    def test_a_public_client_with_its_id_in_the_body(self):
        client = TENANT.public_client
        session, callback = authorize(client)
        token = session.fetch_token(TOKEN, authorization_response=callback, include_client_id=True)
        self.assertEqual(parse_qs(session.sent.pop().body)["client_id"], [client])
        self.assert_tokens(token, client, "a-nonce")
        token = session.refresh_token(TOKEN, client_id=client)
        self.assert_tokens(token, client)

    def test_a_replayed_code_ends_the_grant(self):
        session, callback = authorize(TENANT.public_client)
        token = session.fetch_token(TOKEN, authorization_response=callback)
        with self.assertRaises(InvalidGrantError):
            session.fetch_token(TOKEN, authorization_response=callback)
        self.assert_over(session, token)

    def test_a_replayed_refresh_token_ends_the_grant(self):
        session, callback = authorize(TENANT.public_client)
        first = session.fetch_token(TOKEN, authorization_response=callback)
        session.refresh_token(TOKEN)
        third = session.refresh_token(TOKEN)
        with self.assertRaises(InvalidGrantError):
            session.refresh_token(TOKEN, refresh_token=first["refresh_token"])
        self.assert_over(session, third)

    def test_a_revoked_access_token_ends_the_grant(self):
        session, callback = authorize(TENANT.public_client)
        token = session.fetch_token(TOKEN, authorization_response=callback)
        self.revoke(session, token["access_token"], "access_token")
        self.assert_over(session, token)

    def test_a_state_that_is_not_the_clients(self):
        session, callback = authorize(TENANT.public_client)
        with self.assertRaises(MismatchingStateError):
            session.fetch_token(TOKEN, authorization_response=callback.replace("state=", "state=x"))
        self.assert_tokens(session.fetch_token(TOKEN, authorization_response=callback), TENANT.public_client, "a-nonce")

    def test_a_confidential_client_that_tries_basic_first(self):
        client, secret = TENANT.confidential_client, TENANT.client_secret
        session, callback = authorize(client)
        # Without a secret, as the client does by default.
        with self.assertRaises(InvalidClientError):
            session.fetch_token(TOKEN, authorization_response=callback)
        with self.assertRaises(InvalidClientError):
            session.fetch_token(TOKEN, authorization_response=callback, client_secret="not-the-secret")
        token = session.fetch_token(
            TOKEN, authorization_response=callback, include_client_id=True, client_secret=secret
        )
        self.assertNotIn("authorization", session.sent[-1].headers)
        self.assert_tokens(token, client, "a-nonce")
        # A refresh without the secret is refused, and leaves the token as it was.
        with self.assertRaises(InvalidClientError):
            session.refresh_token(TOKEN, refresh_token=token["refresh_token"])
        token = session.refresh_token(
            TOKEN, refresh_token=token["refresh_token"], client_id=client, client_secret=secret
        )
        self.assert_tokens(token, client)
        answer = requests.post(SERVER["revocation_endpoint"], data={"token": token["refresh_token"]}, timeout=30)
        self.assertEqual((answer.status_code, answer.json()["error"]), (401, "invalid_client"))
        self.revoke(session, token["refresh_token"], "refresh_token", auth=(client, secret))
        self.assert_over(session, token, auth=(client, secret))

    def test_a_confidential_client_with_basic(self):
        client, secret = TENANT.confidential_client, TENANT.client_secret
        session, callback = authorize(client)
        first = session.fetch_token(TOKEN, authorization_response=callback, client_secret=secret)
        self.assertEqual(session.sent[-1].headers["authorization"], requests.auth._basic_auth_str(client, secret))
        self.assert_tokens(first, client, "a-nonce")
        # Basic, and the same client_id in the body.
        token = session.refresh_token(TOKEN, auth=(client, secret), client_id=client)
        self.assert_tokens(token, client)
        with self.assertRaises(InvalidGrantError):
            session.fetch_token(TOKEN, authorization_response=callback, client_secret=secret)
        self.assert_over(session, token, auth=(client, secret))

    def test_client_credentials(self):
        registration, (_, secret) = TENANT.registration, TENANT.key
        session = OAuth2Session(client=BackendApplicationClient(registration, scope=API_SCOPES))
        in_the_body = {"include_client_id": True, "client_secret": secret}
        for how in [{"client_secret": secret}, in_the_body, {"auth": (registration, secret)}]:
            token = session.fetch_token(TOKEN, **how)
            self.assertEqual(list(token["scope"]), API_SCOPES)
            self.assertEqual((token["token_type"], token["expires_in"]), ("Bearer", API_TOKEN_SECONDS))
            self.assertNotIn("refresh_token", token)
            claims = assert_api_access_token(self, token["access_token"], registration)
            self.assertEqual(introspect(token["access_token"])["jti"], claims["jti"])
            self.revoke(session, token["access_token"], "access_token", auth=(registration, secret))
            self.assertEqual(introspect(token["access_token"]), {"active": False})

        narrow = OAuth2Session(client=BackendApplicationClient(registration, scope=["orders:read"]))
        token = narrow.fetch_token(TOKEN, client_secret=secret)
        assert_api_access_token(self, token["access_token"], registration, "orders:read")
        wide = OAuth2Session(client=BackendApplicationClient(registration, scope=[*API_SCOPES, "admin"]))
        with self.assertRaises(InvalidScopeError):
            wide.fetch_token(TOKEN, client_secret=secret)
        with self.assertRaises(UnauthorizedClientError):
            session.fetch_token(TOKEN, client_secret=TENANT.introspector[1])
        with self.assertRaises(InvalidClientError):
            session.fetch_token(TOKEN, client_secret="not-the-secret")

    def test_many_tokens_of_one_machine(self):
        def connect(registration, secret):
            session = OAuth2Session(client=BackendApplicationClient(registration, scope=API_SCOPES))
            return lambda: session.fetch_token(TOKEN, client_secret=secret)

        assert_many_tokens(self, connect)


if __name__ == "__main__":
    unittest.main()
