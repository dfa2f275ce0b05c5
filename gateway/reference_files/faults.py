"""What is wrong with a file, place by place."""

from __future__ import annotations

from gateway.http.problems import FieldError, Problem, invalid

#: Places that are named; the rest are counted.
MAX_NAMED = 100


class Faults:
    """`/rows/12/email` is the cell of line 12 of the file, the header being line 1, in the column `email`."""

    def __init__(self) -> None:
        self._found: list[tuple[int, str, str]] = []

    def note(self, line: int, column: str | None, detail: str) -> None:
        """One more; `column` None: the whole line."""
        self._found.append((line, column or "", detail))

    def __bool__(self) -> bool:
        return bool(self._found)

    def errors(self) -> list[FieldError]:
        """In the order of the file."""
        found = sorted(self._found)
        named: list[FieldError] = [
            {"pointer": f"/rows/{line}" + (f"/{_escaped(column)}" if column else ""), "detail": detail}
            for line, column, detail in found[:MAX_NAMED]
        ]
        if len(found) > MAX_NAMED:
            named.append({"pointer": "/rows", "detail": f"and {len(found) - MAX_NAMED} more"})
        return named

    def problem(self) -> Problem:
        """422, nothing was changed."""
        problem = invalid(*self.errors())
        problem.detail = "Nothing was changed. `errors` has each line of the file and what is wrong there."
        return problem


def _escaped(column: str) -> str:
    return column[:200].replace("~", "~0").replace("/", "~1")
