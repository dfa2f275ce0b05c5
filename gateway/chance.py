"""Random ids and salts. The kernel is asked for many at once: a question of its own for each costs more than all else of it."""

from __future__ import annotations

import os

from schemas.envelope import uuid_text

#: Bytes of one question.
_DRAWN = 4096


class Chance:
    """Bytes of the kernel's generator, each handed out once. For one thread."""

    def __init__(self) -> None:
        self._digits = ""
        self._used = 0

    def digits(self, size: int) -> str:
        """`size` random bytes as hex digits."""
        begin, end = self._used, self._used + 2 * size
        if end > len(self._digits):
            self._digits = os.urandom(max(_DRAWN, size)).hex()
            begin, end = 0, 2 * size
        self._used = end
        return self._digits[begin:end]

    def uuid(self) -> str:
        """A UUIDv4."""
        return uuid_text(self.digits(16), "4")


_chance = Chance()
# A child would hand out what its parent does.
os.register_at_fork(after_in_child=_chance.__init__)  # type: ignore[misc]

digits = _chance.digits
uuid4 = _chance.uuid
