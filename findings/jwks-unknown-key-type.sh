#!/bin/sh
# One public key of a type that a library does not know can make the whole key set unusable.
#
# RFC 7517, section 5, says that implementations should ignore keys whose type ("kty") they do not understand. An
# identity provider that publishes a post-quantum key ("kty": "AKP") beside its RSA key relies on that. The token here is
# signed with the RSA key and names it with "kid".
#
# Guess: every library ignores the new key. Seen on 2026-11-30, Python 3.11:
#
#   PyJWT 2.15.1       RSA, AKP: verified      AKP, RSA: verified
#   joserfc 1.8.0      RSA, AKP: verified      AKP, RSA: verified
#   Authlib 1.9.10     RSA, AKP: KeyError      AKP, RSA: KeyError
#   python-jose 3.5.0  RSA, AKP: verified      AKP, RSA: JWKError
#
# python-jose tries the keys in their order, whatever "kid" says, and fails at the first that it cannot load.
# mintkey skips keys that it cannot use (src/service/issuer/jwks.rs).
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{ python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet PyJWT==2.15.1 joserfc==1.8.0 Authlib==1.9.10 \
    python-jose==3.5.0 cryptography==50.0.2; } >"$work/log" 2>&1 || { cat "$work/log" >&2 && exit 2; }

cat >"$work/try.py" <<'PYTHON'
import base64, json, time, warnings

warnings.simplefilter("ignore")
import jwt
from authlib.jose import JsonWebKey, JsonWebToken
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from jose import jwt as python_jose

private = rsa.generate_private_key(65537, 2048)
known = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key())) | {"kid": "rsa", "use": "sig", "alg": "RS256"}
public = base64.urlsafe_b64encode(bytes(1312)).rstrip(b"=").decode()
new = {"kty": "AKP", "kid": "new", "use": "sig", "alg": "ML-DSA-44", "pub": public}
token = jwt.encode({"sub": "alice", "exp": int(time.time()) + 600}, private, "RS256", {"kid": "rsa"})

libraries = {
    "PyJWT": lambda keys: jwt.decode(token, jwt.PyJWKSet.from_dict(keys)["rsa"].key, ["RS256"]),
    "joserfc": lambda keys: joserfc_jwt.decode(token, KeySet.import_key_set(keys), ["RS256"]),
    "Authlib": lambda keys: JsonWebToken(["RS256"]).decode(token, JsonWebKey.import_key_set(keys)),
    "python-jose": lambda keys: python_jose.decode(token, keys, ["RS256"]),
}


def outcome(verify, keys):
    try:
        verify({"keys": keys})
        return "verified"
    except Exception as error:
        return type(error).__name__


for name, verify in libraries.items():
    assert outcome(verify, [known]) == "verified", name
    print(f"{name}: {outcome(verify, [known, new])}, {outcome(verify, [new, known])}")
PYTHON
"$work/venv/bin/python" "$work/try.py" >"$work/seen" 2>"$work/log" || { cat "$work/log" >&2 && exit 2; }
cat "$work/seen"
cat >"$work/expected" <<'EXPECTED'
PyJWT: verified, verified
joserfc: verified, verified
Authlib: KeyError, KeyError
python-jose: verified, JWKError
EXPECTED
cmp -s "$work/seen" "$work/expected" || exit 1
