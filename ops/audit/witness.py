"""Holds one partition's log against its signed checkpoints, and against older ones that somebody kept."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from ops.audit.found import Broken, place
from ops.audit.source import LogRecord
from schemas import topics
from schemas.checkpoints import Checkpoint, CheckpointRecord, leaf, opened, partition_of
from schemas.merkle import Tree
from schemas.notes import NoteError, VerifierKey


@dataclass(frozen=True, slots=True)
class _Signed:
    start: int
    checkpoint: Checkpoint
    leaves: list[bytes]


class Witness:
    """Grows the tree of one partition's records, and compares it with each checkpoint on the way.

    `publish` takes the published checkpoints ahead of the records, `count` the records. `kept` are checkpoints of this partition,
    already opened, in any order.
    """

    def __init__(self, partition: int, keys: Collection[VerifierKey], kept: Sequence[Checkpoint] = ()) -> None:
        self._partition = partition
        self._keys = keys
        self._kept = sorted(kept, key=lambda one: one.size)
        self._published = Tree()
        self._ahead: deque[_Signed] = deque()
        self.tree = Tree()
        self.verified = 0
        self._log_ended = False
        self._compare_kept()

    @property
    def published(self) -> int:
        """Records under the newest checkpoint taken so far."""
        return self._published.size

    def publish(self, found: LogRecord) -> None:
        """Take the next record of the checkpoints topic: its signature, and that it follows the one before. Raises Broken."""
        where = f"checkpoint at offset {found.offset} of {topics.CHECKPOINTS}/{self._partition}"
        try:
            record = CheckpointRecord.model_validate_json(found.value or b"")
            leaves = record.leaf_hashes()
            checkpoint = opened(record.note, self._keys)
        except (ValidationError, NoteError, ValueError) as error:
            why = str(error) if isinstance(error, NoteError) else "it is no checkpoint record"
            raise Broken(place(self._partition), self._published.size, f"{where}: {why}") from error
        if partition_of(checkpoint.origin) != self._partition or checkpoint.size != record.size:
            raise Broken(
                place(self._partition), record.size, f"{where} is that of {checkpoint.origin}, {checkpoint.size}"
            )
        if (moved := record.moved(checkpoint)) is not None:
            raise Broken(place(self._partition), record.size, f"{where}: {moved}")
        if record.start != self._published.size or not leaves:
            why = f"{where} goes from {record.start} to {record.size} records, the one before ended at {self._published.size}"
            raise Broken(place(self._partition), record.size, why)
        for hashed in leaves:
            self._published.append(hashed)
        if self._published.root() != checkpoint.root:
            why = f"{where}: the leaves published with it do not give the root that was signed"
            raise Broken(place(self._partition), record.size, why)
        if self._log_ended:
            # Of what was signed over more than there is, the newest is enough: a log cut to nothing may have had millions.
            self._ahead.clear()
        self._ahead.append(_Signed(record.start, checkpoint, leaves))

    def count(self, record: LogRecord, entity: str, seq: int) -> None:
        """Take the next record of the log; `entity` and `seq` are its name. Raises Broken."""
        hashed = leaf(record.value)
        if self._ahead:
            signed = self._ahead[0]
            if signed.leaves[self.tree.size - signed.start] != hashed:
                why = (
                    f"log: the record at offset {record.offset} is not the one that the checkpoint of {signed.checkpoint.size} "
                    f"records was signed over, as number {self.tree.size + 1}"
                )
                raise Broken(entity, seq, why)
        self.tree.append(hashed)
        if self._ahead and self.tree.size == self._ahead[0].checkpoint.size:
            self._ahead.popleft()
            self.verified += 1
        self._compare_kept()

    def log_ended(self) -> None:
        """The log has no more records; what is published from now on was signed over more than there is."""
        self._log_ended = True

    def end(self) -> None:
        """There are no more records and no more checkpoints: the log must be as long as each of them says. Raises Broken."""
        sizes = [one.checkpoint.size for one in self._ahead] + [one.size for one in self._kept]
        if sizes:
            why = f"log: it holds {self.tree.size} records, but a checkpoint was signed over {max(sizes)}: its tail was cut off"
            raise Broken(place(self._partition), self.tree.size, why)

    def _compare_kept(self) -> None:
        while self._kept and self._kept[0].size == self.tree.size:
            kept = self._kept.pop(0)
            if kept.root != self.tree.root():
                why = (
                    f"log: its first {kept.size} records are not those that the kept checkpoint was signed over "
                    f"(root {base64.b64encode(kept.root).decode()}): history was rewritten"
                )
                raise Broken(place(self._partition), kept.size, why)
            self.verified += 1
