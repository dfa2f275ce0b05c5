"""What was tapped, and what the phones heard became of it: kept beside the phones, which know no such thing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

#: The app gave a tap up that was not tried: the one that it built on came to nothing.
DROPPED = "dropped"


@dataclass(slots=True)
class Tapped:
    """`heard`: every final result, once for each time it was told. `sent`: in how many batches it went out."""

    user_id: str
    client_id: str
    item: dict[str, Any]
    sent: int = 0
    heard: list[tuple[str, str | None]] = field(default_factory=list)


class Book:
    """All taps by (user, client, op id)."""

    def __init__(self) -> None:
        self.taps: dict[tuple[str, str, str], Tapped] = {}
        #: What else happened, by name.
        self.met: Counter[str] = Counter()

    def tapped(self, user_id: str, client_id: str, item: dict[str, Any]) -> None:
        self.taps[user_id, client_id, item["op_id"]] = Tapped(user_id, client_id, item)

    def of(self, user_id: str, client_id: str, op_id: str) -> Tapped:
        return self.taps[user_id, client_id, op_id]

    @property
    def results(self) -> Counter[str]:
        """How many taps ended how."""
        return Counter(one.heard[0][0] if one.heard else "unheard" for one in self.taps.values())
