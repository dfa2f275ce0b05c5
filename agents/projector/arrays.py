"""What asyncpg asks of each value of an array before it encodes it: whether it is an array, too.

It asks by abstract base classes, which Python answers in Python: 0.25 µs a question and some 120 questions a record, a quarter of
the projector's CPU. Told to look for lists and tuples, which are all that this process ever passes, it does not leave C.

Sets two private names of asyncpg 0.32; where another version has them no more, it is as slow as it was.
"""

from __future__ import annotations

from asyncpg.protocol import protocol

NAMES = ("IterableABC", "SizedABC")


def look_for_lists() -> None:
    """For the whole process, and for good."""
    for name in NAMES:
        if hasattr(protocol, name):
            setattr(protocol, name, (list, tuple))
