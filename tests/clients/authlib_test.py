"""Authlib, the client and the resource server of Flask, Django and FastAPI applications."""

import time
import unittest

import requests
from authlib.integrations.base_client import (
    BaseApp,
    BaseOAuth,
    FrameworkIntegration,
    OAuth2Mixin,
    OAuthError,
    OpenIDMixin,
)
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc6749.errors import MismatchingStateException
from authlib.oauth2.rfc6750.errors import InsufficientScopeError, InvalidTokenError
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc.errors import InvalidClaimError, JoseError
from joserfc.jwk import KeySet

from service import (
    API_SCOPES,
    API_TOKEN_SECONDS,
    AUTH_TIME,
    REDIRECT_URI,
    SCOPES,
    URL,
    USER,
    Tenant,
    assert_api_access_token,
    assert_many_tokens,
    assert_user_access_token,
    login,
)

TENANT = Tenant()
PUBLIC = (TENANT.public_client, None)
CONFIDENTIAL = (TENANT.confidential_client, TENANT.client_secret)
SCOPE = " ".join(SCOPES)


class NoFramework(FrameworkIntegration):
    @staticmethod
    def load_config(oauth, name, params):
        return None


class App(OAuth2Mixin, OpenIDMixin, BaseApp):
    """What the applications for each framework are made of."""

    client_cls = OAuth2Session


class OAuth(BaseOAuth):
    oauth2_client_cls = App
    framework_integration_cls = NoFramework


def register(client, **settings):
    identifier, secret = client
    return OAuth().register(
        "tokenmint",
        client_id=identifier,
        client_secret=secret,
        server_metadata_url=f"{URL}/.well-known/openid-configuration",
        client_kwargs={"scope": SCOPE, "code_challenge_method": "S256", **settings},
    )


SERVER = register(PUBLIC).load_server_metadata()
TOKEN = SERVER["token_endpoint"]


class Login:
    """A user's way to the login service and back."""

    def __init__(self, app):
        self.app = app
        self.request = app.create_authorization_url(REDIRECT_URI)
        self.callback = login(self.request["url"])

    def exchange(self, app=None, **changes):
        request = {"state": self.request["state"], "code_verifier": self.request["code_verifier"], **changes}
        return (app or self.app).fetch_access_token(
            redirect_uri=REDIRECT_URI, authorization_response=self.callback, **request
        )

    def id_token(self, token):
        return self.app.parse_id_token(token, self.request["nonce"])


class Orders(JWTBearerTokenValidator):
    """An API that takes access tokens."""

    def get_jwks(self):
        return KeySet.import_key_set(requests.get(SERVER["jwks_uri"], timeout=30).json())

    def accept(self, access_token, *scopes):
        claims = self.authenticate_token(access_token)
        self.validate_token(claims, scopes, None)
        return dict(claims)


ORDERS = Orders(issuer=URL, resource_server=URL)


class Authlib(unittest.TestCase):
    def refused(self, error):
        return self.assertRaisesRegex(OAuthError, f"^{error}: ")

    def introspect(self, token):
        session = OAuth2Session(*TENANT.introspector)
        answer = session.introspect_token(SERVER["introspection_endpoint"], token=token)
        self.assertEqual(answer.status_code, 200)
        return answer.json()

    def assert_over(self, session, token):
        """Asserts that nothing of a grant works any more."""
        self.assertEqual(self.introspect(token["access_token"]), {"active": False})
        self.assertEqual(self.introspect(token["refresh_token"]), {"active": False})
        session.token = token
        answer = session.get(SERVER["userinfo_endpoint"])
        self.assertEqual((answer.status_code, answer.json()["error"]), (401, "invalid_token"))
        with self.refused("invalid_grant"):
            session.refresh_token(TOKEN)

    def assert_tokens(self, token, client):
        answer = {name: token[name] for name in ("token_type", "expires_in", "scope")}
        self.assertEqual(answer, {"token_type": "Bearer", "expires_in": 3600, "scope": SCOPE})
        return assert_user_access_token(self, token["access_token"], client[0])

    def whole_flow(self, client, **settings):
        app = register(client, **settings)
        user = Login(app)
        first = user.exchange()
        claims = self.assert_tokens(first, client)
        id_claims = dict(user.id_token(first))
        self.assertEqual(id_claims.pop("exp") - id_claims.pop("iat"), 3600)
        # Authlib has compared it with the access token.
        self.assertRegex(id_claims.pop("at_hash"), "^[0-9A-Za-z_-]{22}$")
        expected = {"iss": URL, "aud": client[0], "sid": claims["sid"], "auth_time": AUTH_TIME, **USER}
        self.assertEqual(id_claims, {**expected, "nonce": user.request["nonce"]})
        with self.assertRaises(InvalidClaimError):
            app.parse_id_token(first, "another-nonce")
        with self.assertRaises(InvalidClaimError):
            app.parse_id_token({**first, "access_token": "another"}, user.request["nonce"])
        self.assertEqual(dict(app.userinfo(token=first)), USER)
        self.assertEqual(ORDERS.accept(first["access_token"], "email"), claims)

        # The client refreshes by itself once a token is old, here at once.
        updated = []
        session = OAuth2Session(
            *client,
            token=first,
            token_endpoint=TOKEN,
            leeway=7200,
            update_token=lambda token, refresh_token=None, access_token=None: updated.append((token, refresh_token)),
            **settings,
        )
        self.assertEqual(session.get(SERVER["userinfo_endpoint"]).json(), USER)
        ((second, replaced),) = updated
        self.assertEqual(replaced, first["refresh_token"])
        self.assertNotEqual(second["refresh_token"], replaced)
        claims = self.assert_tokens(second, client)
        # OpenID Connect Core, 12.2: no nonce.
        self.assertNotIn("nonce", app.parse_id_token(second, None))
        self.assertEqual(
            self.introspect(second["access_token"]),
            {
                "active": True,
                "organization": TENANT.organization,
                "token_type": "Bearer",
                **{name: value for name, value in claims.items() if name != "auth_time"},
            },
        )

        session = OAuth2Session(*client, token=second, token_endpoint=TOKEN, **settings)
        answer = session.revoke_token(
            SERVER["revocation_endpoint"], token=second["refresh_token"], token_type_hint="refresh_token"
        )
        self.assertEqual((answer.status_code, answer.json()), (200, {}))
        self.assert_over(session, second)

        user = Login(app)
        token = user.exchange()
        with self.refused("invalid_grant"):
            user.exchange()
        self.assert_over(session, token)

        token = Login(app).exchange()
        answer = session.revoke_token(SERVER["revocation_endpoint"], token=token["access_token"])
        self.assertEqual((answer.status_code, answer.json()), (200, {}))
        self.assert_over(session, token)

    def test_a_public_client(self):
        self.whole_flow(PUBLIC)

    def test_client_secret_basic(self):
        self.whole_flow(CONFIDENTIAL)

    def test_client_secret_post(self):
        post = "client_secret_post"
        self.whole_flow(CONFIDENTIAL, token_endpoint_auth_method=post, revocation_endpoint_auth_method=post)

    def test_the_discovery_documents(self):
        AuthorizationServerMetadata(
            requests.get(f"{URL}/.well-known/oauth-authorization-server", timeout=30).json()
        ).validate()
        document = OpenIDProviderMetadata(requests.get(f"{URL}/.well-known/openid-configuration", timeout=30).json())
        document.validate()
        self.assertEqual(document["issuer"], URL)

    def test_a_refused_exchange_leaves_the_code_as_it_was(self):
        app = register(CONFIDENTIAL)
        user = Login(app)
        with self.assertRaises(MismatchingStateException):
            user.exchange(state="another")
        with self.refused("invalid_grant"):
            user.exchange(code_verifier="another-verifier-that-is-long-enough-to-be-one")
        with self.refused("invalid_client"):
            user.exchange(register((CONFIDENTIAL[0], "not-the-secret")))
        with self.refused("invalid_client"):
            user.exchange(register((CONFIDENTIAL[0], None)))
        with self.refused("invalid_grant"):
            user.exchange(register(PUBLIC))
        self.assert_tokens(user.exchange(), CONFIDENTIAL)

    def test_client_credentials(self):
        registration, (_, secret) = TENANT.registration, TENANT.key
        for method in ("client_secret_basic", "client_secret_post"):
            session = OAuth2Session(
                registration, secret, token_endpoint_auth_method=method, revocation_endpoint_auth_method=method
            )
            token = session.fetch_token(TOKEN)
            self.assertAlmostEqual(token.pop("expires_at"), time.time() + API_TOKEN_SECONDS, delta=30)
            access_token = token.pop("access_token")
            self.assertEqual(
                token, {"token_type": "Bearer", "expires_in": API_TOKEN_SECONDS, "scope": " ".join(API_SCOPES)}
            )
            claims = assert_api_access_token(self, access_token, registration)
            self.assertEqual(ORDERS.accept(access_token, "orders:write"), claims)
            with self.assertRaises(InsufficientScopeError):
                ORDERS.accept(access_token, "admin")
            answer = session.revoke_token(SERVER["revocation_endpoint"], token=access_token)
            self.assertEqual((answer.status_code, answer.json()), (200, {}))
            self.assertEqual(self.introspect(access_token), {"active": False})

        session = OAuth2Session(registration, secret, scope="orders:read")
        assert_api_access_token(self, session.fetch_token(TOKEN)["access_token"], registration, "orders:read")
        with self.refused("invalid_scope"):
            session.fetch_token(TOKEN, scope="orders:read admin")
        with self.refused("unauthorized_client"):
            OAuth2Session(registration, TENANT.introspector[1]).fetch_token(TOKEN)
        with self.refused("unsupported_grant_type"):
            session.fetch_token(TOKEN, grant_type="password", username="somebody", password="anything")

    def test_many_tokens_of_one_machine(self):
        def connect(registration, secret):
            session = OAuth2Session(registration, secret)
            return lambda: session.fetch_token(TOKEN)

        assert_many_tokens(self, connect)

    def test_what_an_api_does_not_accept(self):
        session = OAuth2Session(TENANT.registration, TENANT.key[1])
        access_token = session.fetch_token(TOKEN)["access_token"]
        for other in (Orders(issuer=URL, resource_server="other"), Orders(issuer="other", resource_server=URL)):
            with self.assertRaises(InvalidTokenError):
                other.accept(access_token)
        id_token = Login(register(PUBLIC)).exchange()["id_token"]
        with self.assertRaises((InvalidTokenError, JoseError)):
            Orders(issuer=URL, resource_server=PUBLIC[0]).accept(id_token)


if __name__ == "__main__":
    unittest.main()
