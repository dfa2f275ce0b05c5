"""Which partition a key belongs to: as Kafka's default partitioner has it, which every producer of this product uses."""

from __future__ import annotations

import struct

_WORDS = struct.Struct("<I")
_MULTIPLIER, _MASK = 0x5BD1E995, 0xFFFFFFFF
_SEED = 0x9747B28C


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key. `aiokafka.partitioner` gives the same (a test holds it), in four times the time."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    """MurmurHash2, as `org.apache.kafka.common.utils.Utils.murmur2`, unsigned."""
    length = len(data)
    whole = length & ~3
    found = _SEED ^ length
    for (word,) in _WORDS.iter_unpack(data[:whole]):
        word = word * _MULTIPLIER & _MASK  # noqa: PLW2901
        found = (found * _MULTIPLIER & _MASK) ^ ((word ^ word >> 24) * _MULTIPLIER & _MASK)
    if whole < length:
        found = (found ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    found = (found ^ found >> 13) * _MULTIPLIER & _MASK
    return found ^ found >> 15
