"""The published Wycheproof vectors against the verify function of access tokens: `python -m tests.jose_vectors FOLDER`.

FOLDER is `testvectors_v1` of C2SP/wycheproof. Its vectors of Ed25519 and of ECDSA over P-256 are in a package too, from which the
tests run them (`tests/vectors.py`); those of JOSE are in no package that `pip` or Maven has, so they are run from a folder.

EdDSA and ES256 are all that is verified here. A vector must be accepted when Wycheproof calls it valid, its algorithm is one of
these, and its key is one that a key file may hold; each other must be refused.
"""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from jwt import PyJWK

from gateway.identity import jws
from gateway.identity.jws import TokenError
from gateway.identity.keys import algorithm_of
from tests.unit.gateway.token_making import encoded

JOSE = (
    "json_web_signature_test.json",
    "json_web_crypto_test.json",
    "json_web_key_test.json",
    "json_web_encryption_test.json",
)
PLAIN = ("ed25519_test.json", "ecdsa_secp256r1_sha256_p1363_test.json")
#: Other curves and hashes: their signatures must not pass as ours.
FOREIGN = ("ed448_test.json", "ecdsa_secp256r1_sha512_p1363_test.json")


@dataclass
class Result:
    """How many vectors there were of each kind, and which ended otherwise than they should."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def note(self, name: str, *, expected: bool, found: bool) -> None:
        """Count one vector."""
        self.counts["accepted" if found else "refused"] += 1
        if expected != found:
            self.wrong.append(f"{name}: {'accepted' if found else 'refused'}")


def jose(document: dict[str, Any]) -> Result:
    """Vectors of compact JWS, JWE and key sets."""
    result = Result()
    for group in document["testGroups"]:
        keys = dict(_installed(group))
        for test in group["tests"]:
            found = test["jws"] if "jws" in test else test["jwe"]
            token = found if isinstance(found, str) else json.dumps(found)
            name = f"{group.get('comment', '')} {test['tcId']} {test['comment']}"
            ours = _algorithm_of(token) in {key.algorithm_name for key in keys.values()}
            result.note(name, expected=test["result"] == "valid" and ours, found=_verified(token, keys))
    return result


def plain(document: dict[str, Any], *, ours: bool = True) -> Result:
    """Vectors of bare signatures, by the key object that verifies a token's; `ours`: of an algorithm that is verified here."""
    result = Result()
    for group in document["testGroups"]:
        key = _key_of(_jwk_of(group))
        for test in group["tests"]:
            message, signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
            found = key is not None and key.Algorithm.verify(message, key.key, signature)
            # `acceptable`: implementations differ, and may.
            expected = found if ours and test["result"] == "acceptable" else ours and test["result"] == "valid"
            result.note(f"{test['tcId']} {test['comment']} {test['flags']}", expected=expected, found=found)
    return result


def _installed(group: dict[str, Any]) -> Iterator[tuple[str, PyJWK]]:
    """The keys of a group that a gateway could have: of our two kinds, on their curve, and not meant for anything else."""
    for part in ("public", "private"):
        found = group.get(part, {})
        for jwk in found.get("keys", [found]):
            key = _key_of(jwk)
            if key is not None:
                yield jwk.get("kid", ""), key


def _jwk_of(group: dict[str, Any]) -> dict[str, Any]:
    """The public JWK; of a key of our kinds that has none there, from its bytes."""
    public = group["publicKey"]
    if "publicKeyJwk" not in group and public["curve"] == "secp256r1":
        point = bytes.fromhex(public["uncompressed"])
        return {"kty": "EC", "crv": "P-256", "x": encoded(point[1:33]), "y": encoded(point[33:])}
    if "publicKeyJwk" not in group and public["curve"] == "edwards25519":
        return {"kty": "OKP", "crv": "Ed25519", "x": encoded(bytes.fromhex(public["pk"]))}
    return dict(group.get("publicKeyJwk", {}))


def _key_of(jwk: dict[str, Any]) -> PyJWK | None:
    algorithm = algorithm_of(jwk)
    try:
        return None if algorithm is None else PyJWK(jwk, algorithm)
    except jwt.PyJWTError:
        return None


def _verified(token: str, keys: dict[str, PyJWK]) -> bool:
    try:
        jws.verify(token, keys.get)
    except TokenError:
        return False
    return True


def _algorithm_of(token: str) -> Any:
    try:
        return jwt.get_unverified_header(token).get("alg")
    except jwt.PyJWTError:
        return None


def main(arguments: list[str]) -> int:
    """Exit code 0 all as they should be, 1 some are not (they are named), 2 wrong use."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("Write: python -m tests.jose_vectors FOLDER, with testvectors_v1 of C2SP/wycheproof", file=sys.stderr)
        return 2
    wrong = 0
    for name in (*JOSE, *PLAIN, *FOREIGN):
        document = json.loads((Path(arguments[0]) / name).read_text(encoding="utf-8"))
        result = jose(document) if name in JOSE else plain(document, ours=name in PLAIN)
        print(
            f"{name}: {result.counts['accepted']} accepted, {result.counts['refused']} refused, {len(result.wrong)} wrong"
        )
        for line in result.wrong:
            print(f"  {line}")
        wrong += len(result.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
