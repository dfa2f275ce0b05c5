"""The errors of the embedded stack."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot do what was asked; the text says what happened, to what, and what to do."""


class Misuse(StackError):
    """What was asked, or a setting, is wrong in itself: exit code 2."""
