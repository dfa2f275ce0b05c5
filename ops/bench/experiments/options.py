"""What an experiment is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

AXES = ("held", "rules", "users", "partitions", "workers")


@dataclass(frozen=True, slots=True)
class Options:
    """`form` is `short` or `long`; what is None is as the form has it. `home` names a running stack, where an experiment can
    use one.
    """

    form: str = "short"
    home: str | None = None
    #: Requests held: of `flat` the last of its steps, of `lists` all.
    size: int | None = None
    axes: tuple[str, ...] = AXES
    commands: int | None = None
    minutes: float | None = None
    rate: float | None = None
    cold: bool = False

    def pick(self, short: T, long: T) -> T:
        """The value of the form."""
        return short if self.form == "short" else long
