"""How a run says that a promise was broken."""

from __future__ import annotations


class Broken(AssertionError):
    """A promise of `streams.md` or an invariant of `quality.md` does not hold."""


def holds(condition: bool, message: str, *facts: object) -> None:
    """Raise `Broken` unless the condition holds; `facts` are what was found."""
    if not condition:
        found = ", ".join(repr(fact) for fact in facts)
        raise Broken(f"{message}: {found}" if found else message)
