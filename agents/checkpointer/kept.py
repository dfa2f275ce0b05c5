"""What this process signed last, kept in its own data folder: whoever can write to Kafka alone cannot take it away."""

from __future__ import annotations

import os
from pathlib import Path

from ops.stack.records import write_text
from schemas import topics


class Keeper:
    """A file for each partition, `checkpoints/athena.audit-<n>.txt`: the last note signed, as `audit verify --checkpoint` reads it.

    Both methods raise OSError.
    """

    def __init__(self, data: Path) -> None:
        self._folder = data / "checkpoints"

    def path(self, partition: int) -> Path:
        """Where a partition's note is kept."""
        return self._folder / f"{topics.AUDIT}-{partition}.txt"

    def read(self, partition: int) -> str | None:
        """The note kept, None when there is no file: a new machine, or another projector had the partition so far.

        Bytes that are no UTF-8 become U+FFFD: no note.
        """
        try:
            return self.path(partition).read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return None

    def keep(self, partition: int, note: str) -> None:
        """Replace the note, atomically; on disk when it returns."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_text(self.path(partition), note)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the rename, too
        finally:
            os.close(folder)
