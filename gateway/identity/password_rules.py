"""Which passwords are good enough: 12 to 128 characters, hard to guess for somebody who knows the person and the product."""

from __future__ import annotations

import re
import unicodedata

from zxcvbn import zxcvbn

from gateway.http.problems import invalid_at

SHORTEST = 12
LONGEST = 128
#: zxcvbn's score from 3 on is beyond 10^8 guesses, each of which costs argon2id or a turn. Its lists are of breached passwords.
LEAST_SCORE = 3
#: What must be left of a password without the words that belong to the person and the product.
LEAST_OWN = 8
PRODUCT = ("athena", "budget")
#: zxcvbn's work grows with the square of the length; a guessable beginning is refused anyway.
_LOOKED_AT = 48
#: And exponentially with the different characters that may stand for letters (2.5 s for all of them). All digits and so many
#: of the others are looked at (100 ms at most); what is more is only told apart.
_LEET_SIGNS = 3
_LEET = "@({[<!|$+%"
_OTHERS = "£¥§©®°±×÷¶"
_WORD = re.compile(r"[^\W_]{3,}")


def normal(password: str) -> str:
    """The one spelling of what looks the same, whatever keyboard it came from (RFC 8265: NFC)."""
    return unicodedata.normalize("NFC", password)


def check(password: str, email: str, name: str, pointer: str) -> None:
    """Takes up to 100 ms of CPU: call it in a thread. Raises Problem 422 with the pointer."""
    text = normal(password)
    if not SHORTEST <= len(text) <= LONGEST:
        raise invalid_at(pointer, f"must have {SHORTEST} to {LONGEST} characters")
    words = _words(email, name)
    own = _plain(text)
    for word in sorted(words, key=len, reverse=True):
        own = own.replace(word, "")
    if len(own) < LEAST_OWN:
        raise invalid_at(
            pointer, "is little more than your name, your address or the product's name; choose another one"
        )
    score: int = zxcvbn(_bounded(text[:_LOOKED_AT]), user_inputs=sorted(words))["score"]
    if score < LEAST_SCORE:
        raise invalid_at(
            pointer, "is easy to guess: a common password, a name, a date, a row or a repetition; choose another one"
        )


def _bounded(text: str) -> str:
    """With few different signs that may stand for letters; each other one is replaced by one of its own that may not."""
    surplus = [one for one in dict.fromkeys(text) if one in _LEET][_LEET_SIGNS:]
    return text.translate({ord(one): _OTHERS[_LEET.index(one)] for one in surplus})


def _words(email: str, name: str) -> set[str]:
    local = _plain(email.partition("@")[0])
    return {local, *PRODUCT, *_WORD.findall(_plain(f"{email} {name}"))} - {""}


def _plain(text: str) -> str:
    """Small letters without accents."""
    return "".join(one for one in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(one))
