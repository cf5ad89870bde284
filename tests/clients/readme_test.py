"""The Python of README.md, which protects an API that two organizations use."""

import json
import re
import unittest
from pathlib import Path

import jwt
import requests

from service import URL, Tenant, decode, invoke, provision

ROOT = Path(__file__).parents[2]
TENANTS = [Tenant(), Tenant()]


def readme_block(name):
    """Returns what the block that defines this function defines, for the service that is tested."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    [block] = [block for block in blocks if f"def {name}(" in block]
    names = {}
    exec(block.replace("http://127.0.0.1:3000", URL), names)  # pylint: disable=exec-used
    return names


def authorize(token):
    """Returns the authorizer's decision about a request with this bearer."""
    event = json.loads((ROOT / "events" / "authorize.success-api-key.json").read_text("utf-8"))
    event["identitySource"] = [f"Bearer {token}"]
    event["headers"]["authorization"] = f"Bearer {token}"
    return invoke("authorize", event)


def get_token(tenant, *scopes):
    """Gets a token of a new registration of the tenant."""
    registration = provision(
        "createRegistration", organizationId=tenant.organization, name="orders", scopes=list(scopes), confidential=True
    )
    form = {
        "grant_type": "client_credentials",
        "client_id": registration["registrationId"],
        "client_secret": registration["clientSecret"],
    }
    answer = requests.post(f"{URL}/oauth2/token", data=form, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


class Readme(unittest.TestCase):
    def test_a_verifier_of_tokens_keeps_tenants_apart(self):
        readme = readme_block("orders_of")
        for tenant, other in (TENANTS, reversed(TENANTS)):
            token = get_token(tenant, "orders.read")
            claims = readme["verify"](token)
            self.assertEqual(claims, decode(token)[1])
            self.assertEqual(claims["organization"], tenant.organization)
            self.assertIn(tenant.organization, readme["orders_of"](tenant.organization, token))
            with self.assertRaises(PermissionError):
                readme["orders_of"](other.organization, token)
            with self.assertRaises(PermissionError):
                readme["orders_of"](tenant.organization, get_token(tenant, "orders.write"))
            with self.assertRaises(jwt.InvalidSignatureError):
                readme["verify"](token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBB"))

    def test_a_function_behind_the_authorizer_keeps_tenants_apart(self):
        handler = readme_block("handler")["handler"]
        for tenant, other in (TENANTS, reversed(TENANTS)):
            for token, path, status in (
                (get_token(tenant, "orders.read"), tenant.organization, 200),
                (get_token(tenant, "orders.read"), other.organization, 403),
                (get_token(tenant, "orders.write"), tenant.organization, 403),
                (tenant.key[1], tenant.organization, 403),
            ):
                decision = authorize(token)
                event = {
                    "pathParameters": {"organizationId": path},
                    "requestContext": {"authorizer": {"lambda": decision["context"]}},
                }
                self.assertEqual((decision["isAuthorized"], handler(event, None)["statusCode"]), (True, status))
