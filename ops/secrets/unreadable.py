"""A source that gives no value now."""

from __future__ import annotations


class Unreadable(Exception):
    """The source does not give a value now; the message says why and what to do, and holds nothing of the value."""
