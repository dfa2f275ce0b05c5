"""One partition's tree while it grows: what is counted, what is unsigned, and whether the log is still the one signed before."""

from __future__ import annotations

import base64
import binascii

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas import topics
from schemas.checkpoints import Checkpoint, CheckpointRecord, leaf, opened, origin_of
from schemas.merkle import Tree
from schemas.notes import NoteError, VerifierKey, sign, split_note


class Contradiction(Exception):
    """The log is not the one that an earlier checkpoint was signed over: nothing more may be signed for it."""


class Growth:
    """Counts one partition's records from `begin` on. Pure: it reads no clock and no stream.

    `last` is the newest checkpoint published, None when there is none; the log holds the offsets `log_begin` to `log_end` - 1.
    A checkpoint signed by another key is not taken on trust: the log is then counted from its first record, and must pass
    through that checkpoint's size and root. `kept` is the note that this process signed last, None when it has none: `last` must be
    as large, or larger where another process went on.

    Raises:
        Contradiction: the checkpoint is not this log's, the log does not hold what it was signed over, or `kept` is not held to.
    """

    def __init__(
        self,
        installation: str,
        partition: int,
        key: Ed25519PrivateKey,
        last: CheckpointRecord | None,
        log_begin: int,
        log_end: int,
        kept: str | None = None,
    ) -> None:
        self.partition = partition
        self.origin = origin_of(installation, partition)
        self._key = key
        self._vkey = VerifierKey(self.origin, key.public_key().public_bytes_raw())
        self.tree = Tree()
        self.signed = 0
        self.begin = 0
        self._last_offset = -1
        self._pending: list[bytes] = []
        self._must_be: tuple[int, bytes] | None = None
        self._must_pass: Checkpoint | None = None
        #: The offset at which that size must be reached: a false one must not keep us waiting for ever, unseen.
        self._must_pass_by = 0
        found = None if last is None else self._resume(last, log_end)
        if kept is not None:
            self._hold_to(kept, found)
        if self.begin < log_begin:
            raise Contradiction(f"the log begins at offset {log_begin}; its records from {self.begin} on are gone")

    @property
    def pending(self) -> int:
        """Records counted that no checkpoint covers."""
        return 0 if self._must_pass is not None else len(self._pending)

    def feed(self, offset: int, value: bytes | None) -> None:
        """Count the next record. Raises Contradiction."""
        hashed = leaf(value)
        if self._must_be is not None:
            if (offset, hashed) != self._must_be:
                raise Contradiction(
                    f"the record at offset {self._must_be[0]} is not the last one that the checkpoint of {self.signed} records "
                    f"was signed over (found offset {offset})"
                )
            self._must_be = None
            return
        self.tree.append(hashed)
        self._last_offset = offset
        if self._must_pass is None:
            self._pending.append(hashed)
        elif self.tree.size == self._must_pass.size:
            if self.tree.root() != self._must_pass.root:
                raise Contradiction(f"the log's first {self.tree.size} records are not those that were signed before")
            self.signed, self._must_pass = self.tree.size, None
        elif offset >= self._must_pass_by:
            raise Contradiction(
                f"the log has {self.tree.size} records up to offset {offset}, the last checkpoint names {self._must_pass.size}"
            )

    def checkpoint(self, at: str) -> CheckpointRecord:
        """Sign the tree as it is. `at` is RFC 3339."""
        text = Checkpoint(self.origin, self.tree.size, self.tree.root(), self._last_offset).text()
        return CheckpointRecord(
            partition=self.partition,
            start=self.signed,
            size=self.tree.size,
            last_offset=self._last_offset,
            at=at,
            note=sign(text, self.origin, self._key),
            key=str(self._vkey),
            leaves=base64.b64encode(b"".join(self._pending)).decode(),
            tree=[base64.b64encode(peak).decode() for peak in self.tree.peaks],
        )

    def published(self) -> None:
        """The checkpoint of the tree as it is now is on record."""
        self.signed = self.tree.size
        self._pending.clear()

    def _resume(self, last: CheckpointRecord, log_end: int) -> Checkpoint:
        try:
            found, leaves, tree = Checkpoint.parse(split_note(last.note)[0]), last.leaf_hashes(), last.grown()
            ours = self._signed_by_us(last.note)
        except (NoteError, ValueError, binascii.Error) as error:
            raise Contradiction(f"the last checkpoint cannot be read: {error}") from error
        if (found.origin, found.size, last.partition) != (self.origin, last.size, self.partition) or not leaves:
            raise Contradiction(
                f"the last checkpoint is of {found.origin} with {found.size} records, not of {self.origin} with {last.size}"
            )
        if (why := last.moved(found)) is not None:
            raise Contradiction(f"the last checkpoint is not as it was signed: {why}")
        if last.last_offset >= log_end:
            raise Contradiction(
                f"the log ends at offset {log_end}, but the last checkpoint was signed over {last.size} records up to offset "
                f"{last.last_offset}: its tail is gone"
            )
        if not ours:
            self._must_pass, self._must_pass_by = found, last.last_offset
            return found
        if tree.root() != found.root:
            raise Contradiction("the subtrees kept with the last checkpoint do not give its root")
        self.tree, self.signed, self.begin, self._last_offset = tree, last.size, last.last_offset, last.last_offset
        self._must_be = (last.last_offset, leaves[-1])
        return found

    def _hold_to(self, kept: str, last: Checkpoint | None) -> None:
        """Nothing published after `kept` was signed may be gone. Raises Contradiction."""
        try:
            mine = Checkpoint.parse(split_note(kept)[0])
            self._signed_by_us(kept)
        except NoteError as error:
            raise Contradiction(f"the checkpoint kept here cannot be read: {error}") from error
        if mine.origin != self.origin:
            raise Contradiction(f"the checkpoint kept here is of {mine.origin}, not of {self.origin}")
        if last is None:
            raise Contradiction(
                f"{topics.CHECKPOINTS} has none, the one kept here is over {mine.size} records: they were removed"
            )
        if last.size < mine.size:
            raise Contradiction(
                f"the last checkpoint is over {last.size} records, the one kept here over {mine.size}: newer ones were removed"
            )
        if last.size == mine.size and last != mine:
            raise Contradiction(f"the last checkpoint, over {last.size} records, is another than the one kept here")

    def _signed_by_us(self, note: str) -> bool:
        """False: signed by keys that are not ours. Raises NoteError for a wrong signature under our key."""
        mine = [
            name for name, signature in split_note(note)[1] if signature[:4] == self._vkey.id and name == self.origin
        ]
        if mine:
            opened(note, [self._vkey])
        return bool(mine)
