"""Where a setting's value is kept outside of the environment: a file, or AWS Secrets Manager.

`ATHENA_<NAME>_FILE` names a file, `ATHENA_<NAME>_AWS` a secret: `secret-id[#json-key]`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol

from ops.secrets.unreadable import Unreadable

#: Seconds between two looks at a file; a look is one stat, of all files of a process at once.
FILE_SECONDS = 1.0
MOST_BYTES = 256 * 1024
#: A file that changes while it is read is read again: so often, and after so many seconds.
READS = 5
READ_AGAIN_SECONDS = 0.05


class Source(Protocol):
    """Holds one text. `read` may block for as long as its time-outs say."""

    #: Seconds between two looks.
    every: float

    def may_differ(self) -> bool:
        """Whether a read could bring something else than the last one, as far as that is known without it. May block as `read`."""

    def read(self) -> str | None:
        """The text, without blanks around it; None when it cannot have changed since the last read. Raises Unreadable."""


def source_of(variable: str, aws_seconds: float = 60.0) -> Source | None:
    """Where `variable` (as `ATHENA_TOKEN_KEYS`) is kept, None when it is in the environment itself or nowhere.

    Raises:
        Unreadable: both a file and a secret are named.
    """
    path, secret = os.environ.get(f"{variable}_FILE"), os.environ.get(f"{variable}_AWS")
    if path and secret:
        raise Unreadable(f"{variable}_FILE and {variable}_AWS are both set. Leave one of them out.")
    if path:
        return FileSource(f"{variable}_FILE", Path(path))
    if secret:
        from ops.secrets.aws import AwsSource  # noqa: PLC0415 - boto3 takes 0.3 s; most processes need none

        return AwsSource(f"{variable}_AWS", secret, aws_seconds)
    return None


class FileSource:
    """A file that is replaced, written over, or swapped behind a symbolic link, as Kubernetes mounts secrets."""

    def __init__(self, variable: str, path: Path) -> None:
        self.every = FILE_SECONDS
        self._variable = variable
        self._path = path
        self._seen: tuple[int, ...] | None = None

    def may_differ(self) -> bool:
        """Whether the file is another one, was written to, or could not be read; see `Source`."""
        try:
            return _mark(self._path.stat()) != self._seen
        except OSError:
            return True

    def read(self) -> str | None:
        """The text when the file is another one or was written to; see `Source`. Never half of one that is being written."""
        for _ in range(READS):
            try:
                with self._path.open("rb") as file:
                    before = _mark(os.fstat(file.fileno()))
                    if before == self._seen:
                        return None
                    self._seen = None
                    data = file.read(MOST_BYTES + 1)
                    after = _mark(os.fstat(file.fileno()))
            except OSError as error:
                self._seen = None
                raise self._unreadable(f"{error.strerror}. Name a readable file.") from error
            if before == after:
                return self._text(data, after)
            time.sleep(READ_AGAIN_SECONDS)
        raise self._unreadable("it is being written to. Write another file and move it there.")

    def _text(self, data: bytes, mark: tuple[int, ...]) -> str:
        if len(data) > MOST_BYTES:
            raise self._unreadable(f"it is larger than {MOST_BYTES // 1024} KiB. Name another file.")
        try:
            text = data.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise self._unreadable("it is not UTF-8. Write it anew.") from None
        self._seen = mark
        return text

    def _unreadable(self, why: str) -> Unreadable:
        return Unreadable(f"{self._variable}: cannot read {self._path}: {why}")


def _mark(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
