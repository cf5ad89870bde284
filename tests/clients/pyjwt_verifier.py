"""PyJWT with its defaults, for keys.test.mjs. Each line of input has a token, and how many seconds the clock is ahead. Each
line of output has the token's claims and the ids of the keys that PyJWT knows, or the error."""

import json
import sys
import time

import jwt

JWKS_URI, ISSUER = sys.argv[1:]
ahead = 0
monotonic = time.monotonic
time.monotonic = lambda: monotonic() + ahead
client = jwt.PyJWKClient(JWKS_URI, lifespan=300)

for line in sys.stdin:
    request = json.loads(line)
    ahead = request["ahead"]
    try:
        key = client.get_signing_key_from_jwt(request["token"])
        claims = jwt.decode(request["token"], key, algorithms=["RS256"], issuer=ISSUER, audience=ISSUER)
        answer = {"claims": claims, "keyIds": [key.key_id for key in client.get_jwk_set().keys]}
    except jwt.PyJWTError as error:
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
