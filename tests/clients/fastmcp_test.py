"""The verifier of FastMCP, which protects MCP servers. The tokens come from plain requests."""

import asyncio
import unittest

import requests
from fastmcp.server.auth.providers.jwt import JWTVerifier

from service import API_SCOPES, BILLING, ORDERS, URL, Tenant, assert_api_access_token

TENANT = Tenant()
SERVER = requests.get(f"{URL}/.well-known/oauth-authorization-server", timeout=30).json()


def get_token(*resources):
    form = {
        "grant_type": "client_credentials",
        "client_id": TENANT.registration,
        "client_secret": TENANT.key[1],
        "resource": resources,
    }
    answer = requests.post(SERVER["token_endpoint"], data=form, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


def verify(token, audience, **settings):
    """Returns what an MCP server with this audience learns of a token, or None if it refuses the token."""
    verifier = JWTVerifier(
        jwks_uri=SERVER["jwks_uri"], **{"issuer": SERVER["issuer"], "audience": audience, **settings}
    )
    return asyncio.run(verifier.verify_token(token))


class FastMcp(unittest.TestCase):
    def assert_refused(self, reason, token, audience, **settings):
        with self.assertLogs("fastmcp.server.auth.providers.jwt", "DEBUG") as logged:
            self.assertIsNone(verify(token, audience, **settings))
        self.assertIn(reason, logged.output[-1])

    def test_a_server_takes_the_tokens_that_are_for_it(self):
        token = get_token(ORDERS)
        claims = assert_api_access_token(self, token, TENANT.registration, aud=ORDERS)
        accepted = verify(token, ORDERS, required_scopes=["orders:read"])
        self.assertEqual(accepted.claims, claims)
        self.assertEqual((accepted.client_id, accepted.subject), (TENANT.registration, TENANT.registration))
        self.assertEqual((accepted.scopes, accepted.expires_at), (API_SCOPES, claims["exp"]))
        self.assertIsNotNone(verify(token, [BILLING, ORDERS]))

    def test_a_server_refuses_the_tokens_of_another(self):
        token = get_token(BILLING)
        self.assertIsNotNone(verify(token, BILLING))
        for other in (ORDERS, URL, TENANT.registration, [ORDERS, URL]):
            self.assert_refused("audience mismatch", token, other)
        self.assert_refused("audience mismatch", get_token(), ORDERS)
        self.assert_refused("issuer mismatch", token, BILLING, issuer="https://other.example.com")
        self.assert_refused("missing required scopes", token, BILLING, required_scopes=["admin"])
        self.assert_refused("signature/format invalid", token[:-8] + "AAAAAAAA", BILLING)

    def test_a_token_for_two_servers(self):
        token = get_token(ORDERS, BILLING)
        for audience in (ORDERS, BILLING):
            self.assertEqual(verify(token, audience).claims["aud"], [ORDERS, BILLING])
        self.assert_refused("audience mismatch", token, URL)


if __name__ == "__main__":
    unittest.main()
