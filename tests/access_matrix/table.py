"""Reads the tables: a head line that names the columns, then one line per endpoint or command and object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Line:
    """One line; `what` are the columns before the object, `cells` the expectation for each person."""

    what: tuple[str, ...]
    object: str
    cells: dict[str, str]

    def __str__(self) -> str:
        return " ".join((*self.what, self.object))


def read(name: str) -> list[Line]:
    """The lines of a table. Fails on a line with a cell too few or too many, and on a line that stands twice."""
    lines = list(_lines(name))
    named = [str(line) for line in lines]
    twice = {line for line in named if named.count(line) > 1}
    assert not twice, f"{name} has these lines twice: {twice}"
    return lines


def _lines(name: str) -> Iterator[Line]:
    head: list[str] = []
    for number, text in enumerate((FOLDER / name).read_text(encoding="utf-8").splitlines(), start=1):
        words = text.split()
        if not words or text.startswith("#"):
            continue
        if not head:
            head = words
            place = head.index("object")
            continue
        assert len(words) == len(head), f"{name}:{number} has {len(words)} columns, the head has {len(head)}"
        people = zip(head[place + 1 :], words[place + 1 :], strict=True)
        yield Line(tuple(words[:place]), words[place], dict(people))
