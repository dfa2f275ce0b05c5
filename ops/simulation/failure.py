"""How a run says that a promise was broken."""

from __future__ import annotations


class Broken(AssertionError):
    """A promise of `streams.md` or an invariant of `quality.md` does not hold. `promise` says which, `facts` what was found."""

    def __init__(self, promise: str, *facts: object) -> None:
        self.promise = promise
        found = ", ".join(repr(fact) for fact in facts)
        super().__init__(f"{promise}: {found}" if found else promise)


def holds(condition: bool, message: str, *facts: object) -> None:
    """Raise `Broken` unless the condition holds; `facts` are what was found."""
    if not condition:
        raise Broken(message, *facts)
