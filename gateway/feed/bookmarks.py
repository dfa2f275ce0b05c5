"""How far somebody has followed: a vector of offsets of `athena.audit`, in commit order whatever the clocks do.

Everything that concerned them below these offsets was given. For a delegate the bookmark also knows for whom that holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.feed.principals import HASH_BYTES

_LAYOUT = 1
_TOLD = 1
_TIME_BYTES = 5

#: Next offset by partition; 0 where there is none.
Vector = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Walk:
    """Somebody for whom the caller began to decide (`joins`), or no longer does: their requests are gone through once, in the
    order of positions; the next one is at or after (`partition`, `offset`)."""

    joins: bool
    hashed: bytes
    partition: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Bookmark:
    """`issued` in seconds since 1970. `others`: hashes of those besides the caller for whom the vector holds. `told`: what is gone
    is also told where the vector is 0, since it came from a time, and not from the beginning.
    """

    issued: int
    vector: Vector
    told: bool = False
    others: tuple[bytes, ...] = ()
    walk: Walk | None = field(default=None)

    def moved(self, issued: int, vector: Vector) -> Bookmark:
        """The same, further on."""
        return replace(self, issued=issued, vector=vector)


def write(mark: Bookmark) -> bytes:
    """The bookmark's bytes; 48 partitions with offsets below 2^35 take under 300."""
    parts = [bytes((_LAYOUT, _TOLD if mark.told else 0)), mark.issued.to_bytes(_TIME_BYTES, "big")]
    parts += [bytes((len(mark.others),)), *mark.others]
    walk = mark.walk
    if walk is None:
        parts.append(b"\x00")
    else:
        parts += [b"\x01" if walk.joins else b"\x02", walk.hashed, _number(walk.partition), _number(walk.offset)]
    parts.append(write_vector(mark.vector))
    return b"".join(parts)


def write_vector(vector: Vector) -> bytes:
    """The part of a bookmark that comes last."""
    return b"".join(_number(vector.get(partition, 0)) for partition in range(max(vector, default=-1) + 1))


def read(payload: bytes) -> Bookmark:
    """The bookmark. Raises ValueError for another layout."""
    try:
        if payload[0] != _LAYOUT:
            raise ValueError("of another layout")
        told = payload[1] == _TOLD
        at = 2 + _TIME_BYTES
        issued, count = int.from_bytes(payload[2:at], "big"), payload[at]
        at += 1
        others = tuple(payload[at + HASH_BYTES * n : at + HASH_BYTES * (n + 1)] for n in range(count))
        at += HASH_BYTES * count
        kind = payload[at]
        at += 1
        walk = None
        if kind:
            hashed = payload[at : at + HASH_BYTES]
            partition, at = _read_number(payload, at + HASH_BYTES)
            offset, at = _read_number(payload, at)
            walk = Walk(kind == 1, hashed, partition, offset)
        vector: dict[int, int] = {}
        while at < len(payload):
            vector[len(vector)], at = _read_number(payload, at)
    except IndexError:
        raise ValueError("it ends too early") from None
    return Bookmark(issued, vector, told, others, walk)


def cut(begun: Vector, applied: Vector, partition: int, offset: int) -> dict[int, int]:
    """How far somebody is who was given all rows from `begun` up to that one, in the order of partitions and offsets."""
    return {
        number: end if number < partition else offset + 1 if number == partition else begun.get(number, 0)
        for number, end in applied.items()
    }


def is_ahead(vector: Vector, applied: Vector) -> bool:
    """Whether it names what the read side does not have."""
    return any(offset > applied.get(partition, 0) for partition, offset in vector.items())


def later(one: Vector, other: Vector) -> dict[int, int]:
    """The later of both in each partition."""
    return {partition: max(one.get(partition, 0), other.get(partition, 0)) for partition in {*one, *other}}


def distance(vector: Vector, applied: Vector) -> int:
    """Records of the log between the two."""
    return sum(max(0, end - vector.get(partition, 0)) for partition, end in applied.items())


def vector_of(partitions: Sequence[int], offsets: Sequence[int]) -> dict[int, int]:
    """From two columns."""
    return dict(zip(partitions, offsets, strict=True))


def _number(value: int) -> bytes:
    """LEB128."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _read_number(payload: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = payload[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number without an end")
