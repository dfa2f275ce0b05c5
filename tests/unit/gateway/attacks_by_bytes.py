"""Attacks by a token's bytes: other spellings of it, other signatures, other shapes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

from tests.unit.gateway.token_making import (
    Attack,
    Jwk,
    claims,
    decoded,
    encoded,
    good,
    header_of,
    private_of,
    resigned,
    token_of,
)  # fmt: skip

#: The order of Ed25519's base point.
ORDER = 2**252 + 27742317777372353535851937790883648493
#: The points of small order of Ed25519, encoded; the last ones not canonically.
LOW_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


def encodings(ours: Jwk, _own: Jwk) -> Iterator[Attack]:
    head, body, signature = good(ours).split(".")
    for count in (1, 2, 3, 4):
        pad = "=" * count
        yield f"{count} padding behind the header", f"{head}{pad}.{body}.{signature}"
        yield f"{count} padding behind the claims", f"{head}.{body}{pad}.{signature}"
        yield f"{count} padding behind the signature", f"{head}.{body}.{signature}{pad}"
        yield f"{count} signed padding behind the claims", resigned(ours, f"{head}.{body}{pad}")
        yield f"{count} signed padding behind the header", resigned(ours, f"{head}{pad}.{body}")
    last = signature[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # 64 bytes leave four bits of the last character unused: fifteen other texts have the same bytes.
    for bits in range(1, 16):
        other = alphabet[alphabet.index(last) ^ bits]
        yield (
            f"the signature's last character with other unused bits ({bits})",
            f"{head}.{body}.{signature[:-1]}{other}",
        )
    fitting = next(
        text for text in (_numbered(ours, number) for number in itertools.count()) if {"-", "_"} & {*text[-86:]}
    )
    yield "the standard alphabet of base64", fitting.replace("-", "+").replace("_", "/")
    for what, blank in {
        "blank": " ",
        "tab": "\t",
        "newline": "\n",
        "CRLF": "\r\n",
        "NUL": "\0",
        "NBSP": "\u00a0",
    }.items():
        yield f"{what} in front", f"{blank}{head}.{body}.{signature}"
        yield f"{what} behind", f"{head}.{body}.{signature}{blank}"
        yield f"{what} behind the header", f"{head}{blank}.{body}.{signature}"
        yield f"{what} in the signature", f"{head}.{body}.{signature[:10]}{blank}{signature[10:]}"
    yield "letters of full width", f"{head}.{body}.{signature}".translate({ord("e"): 0xFF45})
    yield "dots of full width", "\uff0e".join((head, body, signature))
    yield "percent-encoded dots", "%2E".join((head, body, signature))


def signatures(ours: Jwk, _own: Jwk) -> Iterator[Attack]:
    head, body, signature = good(ours).split(".")
    raw = decoded(signature)
    point, scalar = raw[:32], int.from_bytes(raw[32:], "little")
    for factor in (1, 2, 3, 7):
        grown = scalar + factor * ORDER
        if grown < 2**256:
            yield f"s + {factor} L", f"{head}.{body}.{encoded(point + grown.to_bytes(32, 'little'))}"
    yield "L - s", f"{head}.{body}.{encoded(point + (ORDER - scalar).to_bytes(32, 'little'))}"
    yield "s = 0", f"{head}.{body}.{encoded(point + bytes(32))}"
    yield "s = L", f"{head}.{body}.{encoded(point + ORDER.to_bytes(32, 'little'))}"
    for low in LOW_ORDER:
        for named, end in (("0", bytes(32)), ("L", ORDER.to_bytes(32, "little")), ("s", raw[32:])):
            yield (
                f"R of small order {low[:4]}…{low[-2:]}, s = {named}",
                f"{head}.{body}.{encoded(bytes.fromhex(low) + end)}",
            )
    for bit in (0, 7, 255, 256, 300, 504, 508, 509, 510, 511):
        bent = bytearray(raw)
        bent[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} of the signature turned", f"{head}.{body}.{encoded(bytes(bent))}"
    for what, other in {
        "none": b"", "one byte": b"\0", "cut by one byte": raw[:-1], "one byte too many": raw + b"\0", "half": raw[:32],
        "twice": raw + raw, "zeros": bytes(64), "ones": b"\xff" * 64, "swapped halves": raw[32:] + raw[:32],
        "of another length": raw[:48], "of Ed448's length": raw + bytes(50), "the public key": decoded(ours["x"]) * 2,
    }.items():  # fmt: skip
        yield f"signature: {what}", f"{head}.{body}.{encoded(other)}"
    another = token_of(ours, header_of(ours), claims(sub="admin", roles=["admin"])).split(".")
    yield "the signature of another token", f"{head}.{another[1]}.{signature}"
    yield "the claims signed alone", f"{head}.{body}.{encoded(private_of(ours).sign(body.encode()))}"
    yield (
        "the bytes signed before encoding",
        f"{head}.{body}.{encoded(private_of(ours).sign(decoded(head) + decoded(body)))}",
    )


def shapes(ours: Jwk, _own: Jwk) -> Iterator[Attack]:
    token = good(ours)
    head, body, signature = token.split(".")
    texts = {
        "nothing": "", "a dot": ".", "two dots": "..", "three dots": "...", "noise": "nonsense", "one part": head,
        "two parts": f"{head}.{body}", "without the signature's dot": f"{head}.{body}{signature}", "four parts": f"{token}.",
        "four parts, all full": f"{token}.{signature}", "a dot in front": f".{token}",
        "an empty part between": f"{head}..{signature}",
        "five parts, as a JWE": f"{head}.{body}.{signature}.{body}.{signature}", "parts swapped": f"{body}.{head}.{signature}",
        "a scheme in front": f"Bearer {token}", "two tokens": f"{token},{token}", "two tokens with a blank": f"{token} {token}",
        "in quotes": f'"{token}"', "empty objects": "e30.e30.e30", "nulls": "bnVsbA.bnVsbA.bnVsbA",
        "no ASCII": "\u00e9.\u00e9.\u00e9",
        "JSON, flattened": json.dumps({"protected": head, "payload": body, "signature": signature}),
        "JSON, general": json.dumps({"payload": body, "signatures": [{"protected": head, "signature": signature}]}),
        "oversize": "x" * 5000, "oversize, three parts": f"{head}.{'A' * 5000}.{signature}", "a megabyte": "a" * 1_000_000,
        "many dots": "." * 4000, "a lone surrogate": f"{head}.{body}.\ud800",
        "a surrogate in the header": f"\udcff{head}.{body}.{signature}",
    }  # fmt: skip
    for what, text in texts.items():
        yield f"shape: {what}", text
    yield "oversize, well signed", token_of(ours, header_of(ours), claims(roles=["sales"] * 10, x="y" * 4000))
    yield "a JWE's header", f"{encoded(json.dumps({'alg': 'dir', 'enc': 'A256GCM'}).encode())}..{body}.{body}.{body}"
    yield "detached", resigned(ours, f"{head}.")


def _numbered(jwk: Jwk, number: int) -> str:
    return token_of(jwk, header_of(jwk), claims(jti=f"j-{number}"))
