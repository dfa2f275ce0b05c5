"""Signed notes with Ed25519 keys, as c2sp.org/signed-note (v1.0.0) defines them.

A note is a text that ends in a newline, an empty line, and signature lines `— <key name> base64(key id ‖ signature)`. Key id =
first four bytes of SHA-256(key name ‖ 0x0A ‖ 0x01 ‖ public key). A verifier key reads `<key name>+<hex key id>+<base64(0x01 ‖
public key)>`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

ED25519 = b"\x01"
#: Longest note that is read, in characters, and the most signatures: as Go's golang.org/x/mod/sumdb/note has them. A witness's
#: post-quantum signature has up to 5 kB.
MAX_NOTE, MAX_SIGNATURES = 1_000_000, 100
_NAME = re.compile(r"[^\s+]+")
_DASH = "\u2014 "


class NoteError(ValueError):
    """A text that is no note or no key, or a signature that does not hold; the message says which."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A key's name and its Ed25519 public key (32 bytes)."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that name the key in a signature line."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read the text form. Raises NoteError."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not _NAME.fullmatch(parts[0]):
            raise NoteError(f"expected <name>+<key id>+<base64 key>, found {text.strip()[:60]!r}")
        material = _base64(parts[2])
        if len(material) != 33 or material[:1] != ED25519:
            raise NoteError(f"the key of {parts[0]} is no Ed25519 key")
        key = cls(parts[0], material[1:])
        if key.id.hex() != parts[1]:
            raise NoteError(f"the key of {parts[0]} has the id {key.id.hex()}, not {parts[1]}: a character is wrong")
        return key


def load_private_key(pem: str) -> Ed25519PrivateKey:
    """Read an Ed25519 private key in PEM (PKCS#8), as `openssl genpkey -algorithm ed25519` writes it. Raises NoteError."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise NoteError("it is no private key in PEM; make one: openssl genpkey -algorithm ed25519") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise NoteError("it is no Ed25519 key; make one: openssl genpkey -algorithm ed25519")
    return key


def sign(text: str, name: str, key: Ed25519PrivateKey) -> str:
    """The note of a text (ending in a newline), signed under a key name. Raises NoteError for a text that cannot be one."""
    if not text.endswith("\n") or any(ord(one) < 32 and one != "\n" for one in text):
        raise NoteError("a note's text ends in a newline and holds no other control character")
    if not _NAME.fullmatch(name):
        raise NoteError(f"a key name has neither blanks nor a plus: {name!r}")
    identity = VerifierKey(name, key.public_key().public_bytes_raw()).id
    line = base64.b64encode(identity + key.sign(text.encode())).decode()
    return f"{text}\n{_DASH}{name} {line}\n"


def open_note(note: str, keys: Iterable[VerifierKey]) -> str:
    """The text of a note that at least one of the keys has signed. Signatures of unknown keys are ignored.

    Raises:
        NoteError: it is no note, no known key signed it, or the signature of a known key is not its own.
    """
    text, signatures = split_note(note)
    known = {(key.name, key.id): key for key in keys}
    verified = False
    for name, signature in signatures:
        key = known.get((name, signature[:4]))
        if key is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature[4:], text.encode())
        except InvalidSignature:
            raise NoteError(f"the signature of {name} is not that of this text") from None
        verified = True
    if not verified:
        names = ", ".join(dict.fromkeys(f"{name}+{signature[:4].hex()}" for name, signature in signatures))
        raise NoteError(f"none of the known keys has signed it; it is signed by {names[:300]}")
    return text


def split_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """A note's text and its signatures (key name, key id ‖ signature), not verified. Raises NoteError."""
    if len(note) > MAX_NOTE or any(ord(one) < 32 and one != "\n" for one in note):
        raise NoteError("it is too long for a note, or holds a control character")
    text, empty, lines = note.rpartition("\n\n")
    if not empty or not lines.endswith("\n"):
        raise NoteError("it has no empty line followed by signature lines")
    signatures: list[tuple[str, bytes]] = []
    for line in lines.removesuffix("\n").split("\n"):
        if len(signatures) >= MAX_SIGNATURES:
            raise NoteError(f"it has over {MAX_SIGNATURES} signatures")
        name, blank, encoded = line.removeprefix(_DASH).partition(" ")
        signature = _base64(encoded)
        if not line.startswith(_DASH) or not blank or not _NAME.fullmatch(name) or len(signature) < 5:
            raise NoteError(f"expected a signature line, found {line[:60]!r}")
        signatures.append((name, signature))
    return text + "\n", signatures


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(f"not base64: {text[:60]!r}") from None
