"""The one error of the embedded stack."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot do what was asked; the text says what happened, to what, and what to do."""
