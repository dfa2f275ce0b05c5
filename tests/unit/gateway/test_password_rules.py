"""Passwords that somebody would guess must not be taken, and good ones must be."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http.problems import Problem
from gateway.identity.password_rules import LONGEST, SHORTEST, check, normal

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


def seconds(password: str) -> float:
    """CPU time that it takes to look at it."""
    started = time.process_time()
    pointer(password)
    return time.process_time() - started


@pytest.mark.parametrize(
    "letters",
    ["@4$5!1|0", "qwertyuiop", "ab", "password", "2026", "4@8({[<369!1|7$50+%2", "4683917052@$|", "4@6!1|7$5+"],
)
def test_no_password_takes_long_to_look_at(letters: str) -> None:
    """One call could keep a core busy for seconds, and every other call waiting."""
    assert seconds((letters * LONGEST)[:LONGEST]) < 25 * ordinary()


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet="4@8({[<369!1|7$50+%2abcxyz", min_size=SHORTEST, max_size=LONGEST))
def test_no_mixture_of_signs_takes_long_to_look_at(password: str) -> None:
    """Somebody who tries could find one that keeps a core busy for seconds."""
    assert seconds(password) < 25 * ordinary()


def ordinary() -> float:
    """What words of the same length take on this machine at this moment."""
    return max(0.01, seconds("seven quiet otters and some more of them in a long row of words"))


def test_signs_beyond_the_first_few_do_not_make_a_guessable_password_good() -> None:
    """People could write a common word with many signs and believe it safe."""
    assert pointer("p@$$w0rd!({[") == "/new"
    assert pointer("p@$$w0rdp@$$w0rd|+%") == "/new"
