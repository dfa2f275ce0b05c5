"""A process's own clock, for tests: what it reads from `time` and `datetime` is shifted by what a file says.

Python runs this at its start where this folder is on PYTHONPATH. `ATHENA_TEST_CLOCKS` names a folder; the file in it that is
called like the process (`ATHENA_INSTANCE_ID`) holds the shift, one native double in seconds, and is mapped: a step takes
effect at once. Monotonic clocks stay as they are, as when an operator sets the time.
"""

from __future__ import annotations

import datetime
import mmap
import os
import struct
import time
from pathlib import Path
from typing import Any

_folder, _name = os.environ.get("ATHENA_TEST_CLOCKS"), os.environ.get("ATHENA_INSTANCE_ID")


def _install(path: Path) -> None:
    with path.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    real_time, real_ns, real = time.time, time.time_ns, datetime.datetime

    def shift() -> float:
        return float(struct.unpack("d", shared[:8])[0])

    class Meta(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, real)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, real)

    class Shifted(real, metaclass=Meta):
        """Makes real datetimes; only what "now" is differs."""

        def __new__(cls, *values: Any, **named: Any) -> Any:
            return real(*values, **named)

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls) -> Any:
            return real.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)

    # Names by text: these modules' own types do not allow it.
    for module, name, value in (
        (time, "time", lambda: real_time() + shift()),
        (time, "time_ns", lambda: real_ns() + int(shift() * 1_000_000_000)),
        (datetime, "datetime", Shifted),
    ):
        setattr(module, name, value)


if _folder and _name and (Path(_folder) / _name).exists():
    _install(Path(_folder) / _name)
