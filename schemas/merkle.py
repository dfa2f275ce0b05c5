"""Merkle trees as RFC 6962 section 2.1 defines them, over SHA-256, grown one leaf at a time in memory of log2(size) hashes.

A tree of n leaves is kept as its compact range: the roots of the full subtrees whose sizes are the powers of two in n, largest
first. All hashes are 32 bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf's bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A growing tree. `size` counts its leaves; `peaks` is its compact range."""

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if len(self.peaks) != size.bit_count() or any(len(peak) != 32 for peak in self.peaks):
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} subtrees of 32 bytes each")

    def append(self, leaf: bytes) -> None:
        """Add a leaf, given as its hash."""
        node, size = leaf, self.size
        while size & 1:
            node = node_hash(self.peaks.pop(), node)
            size >>= 1
        self.peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The hash of the whole tree."""
        if not self.peaks:
            return EMPTY_ROOT
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = node_hash(peak, node)
        return node

    def copy(self) -> Tree:
        """The same tree, to be grown apart."""
        return Tree(self.size, self.peaks)


@dataclass(slots=True)
class _Path:
    """A leaf's path so far: its siblings, lowest first."""

    index: int
    siblings: list[bytes] = field(default_factory=list)


class Prover(Tree):
    """A tree that remembers the inclusion proofs of chosen leaves: log2(size) hashes for each, whatever the size."""

    __slots__ = ("_paths", "_within")

    def __init__(self) -> None:
        super().__init__()
        self._paths: list[_Path] = []
        #: (height, index among the subtrees of that height) of a subtree that is still growing -> the paths in it.
        self._within: dict[tuple[int, int], list[_Path]] = {}

    def append(self, leaf: bytes, wanted: bool = False) -> None:
        """Add a leaf; `wanted`: its proof will be asked for."""
        if wanted:
            self._paths.append(_Path(self.size))
            self._within[0, self.size] = [self._paths[-1]]
        node, height = leaf, 0
        while (self.size >> height) & 1:
            left = self.peaks.pop()
            self._join(self.size >> height, height, left, node)
            node = node_hash(left, node)
            height += 1
        self.peaks.append(node)
        self.size += 1

    def _join(self, right: int, height: int, left_hash: bytes, right_hash: bytes) -> None:
        """Two subtrees of `height` become one; `right` is the index of the right one among those of its height."""
        lefts = self._within.pop((height, right - 1), [])
        rights = self._within.pop((height, right), [])
        for path in lefts:
            path.siblings.append(right_hash)
        for path in rights:
            path.siblings.append(left_hash)
        if lefts or rights:
            self._within[height + 1, right >> 1] = lefts + rights

    def proofs(self) -> dict[int, list[bytes]]:
        """Leaf index -> audit path (RFC 6962 section 2.1.1) in the tree as it is now."""
        sizes = [1 << height for height in range(self.size.bit_length() - 1, -1, -1) if self.size >> height & 1]
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        found = {}
        for path in self._paths:
            place = max(number for number, start in enumerate(starts) if start <= path.index)
            siblings = list(path.siblings)
            right = self.peaks[place + 1 :]
            if right:
                node = right[-1]
                for peak in reversed(right[:-1]):
                    node = node_hash(peak, node)
                siblings.append(node)
            siblings.extend(reversed(self.peaks[:place]))
            found[path.index] = siblings
        return found


def root_from_proof(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162 section 2.1.3.2); it proves the leaf when that is the tree's root.

    Raises:
        ValueError: the proof is not one of leaf `index` in a tree of `size` leaves.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    number, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ValueError("the proof is too long")
        if number & 1 or number == last:
            node = node_hash(sibling, node)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        number >>= 1
        last >>= 1
    if last != 0:
        raise ValueError("the proof is too short")
    return node
