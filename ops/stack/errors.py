"""The errors of the embedded stack, and of a process whose settings are wrong."""

from __future__ import annotations

import sys


class StackError(Exception):
    """The stack cannot do what was asked; the text says what happened, to what, and what to do."""


class Misuse(StackError):
    """What was asked, or a setting, is wrong in itself: exit code 2."""


class WrongSettings(SystemExit):
    """Ends the process with its sentence and exit code 2; `SystemExit` alone would make it 1."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        sys.stderr.write(f"{text}\n")
        self.code = 2
