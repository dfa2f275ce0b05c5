"""Passwords that somebody would guess must not be taken, and good ones must be."""

from __future__ import annotations

import random
import string
import time

import pytest

from gateway.http.problems import Problem
from gateway.identity.password_rules import LONGEST, check, normal

EMAIL, NAME = "sue.sales@athena.test", "Sue Ångström-Müller"


def pointer(password: str) -> str | None:
    """Where the refusal points, None for a password that is good."""
    try:
        check(password, EMAIL, NAME, "/new")
    except Problem as problem:
        assert problem.status == 422
        return problem.errors[0]["pointer"]
    return None


@pytest.mark.parametrize(
    "password",
    [
        "elf chars..",
        "x7!Kq" * 30,
        "password1234",
        "iloveyou1234",
        "qwertyuiop[]",
        "aaaaaaaaaaaaaaaa",
        "abcabcabcabcabcabc",
        "123456789012",
        "p4ssw0rd!p4ssw0rd!",
        "sue.sales2026",
        "Sue.Sales@athena.test",
        "Ångström-Müller1",
        "angstrommuller1",
        "athena-budget-1",
        "AthenaBudget2026!",
        "aaaa" * 18 + "kV9#mQ2$",
    ],
)
def test_what_is_easy_to_guess_is_refused(password: str) -> None:
    """Whoever knows a person a little could sign in as them."""
    assert pointer(password) == "/new"


@pytest.mark.parametrize(
    "password",
    [
        "seven quiet otters",
        "Tr0ub4dor&3xyz",
        "длинный пароль из слов",
        "x7!Kq#2mZ&9p",
        "correct-horse-battery-1",
        "家に帰ったら手を洗いますか",
    ],
)
def test_what_is_hard_to_guess_is_taken(password: str) -> None:
    """People would write down what they are made to invent."""
    assert pointer(password) is None


def test_the_same_letters_are_the_same_password() -> None:
    """Somebody whose keyboard composes an é in another way could not sign in."""
    assert normal("caf\u00e9 au lait 12") == normal("cafe\u0301 au lait 12")


def test_no_password_takes_long_to_look_at() -> None:
    """One call could keep a core busy for seconds."""
    rng = random.Random(7)
    letters = ["@4$5!1|0" * 16, "qwertyuiop" * 12, "ab" * 64, "password" * 16, "2026" * 32]
    letters += ["".join(rng.choices(string.printable[:94], k=LONGEST)) for _ in range(3)]
    started = time.process_time()
    for text in letters:
        pointer(text[:LONGEST])
    assert time.process_time() - started < 1.0 * len(letters)
