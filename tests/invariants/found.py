"""What the checks are told, and what they find."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Acknowledged:
    """What a client was told: its command's id, and the status of the answer that settled it (201, 200, 4xx).

    `version` is what the command made of its request; None where the client was only shown the request as it was later.
    """

    command_id: str
    status: int
    code: str | None
    request_id: str | None
    version: int | None


@dataclass
class Found:
    """What was read and what is wrong. `chains` counts audit chains, `lost` and `doubled` acknowledged commands."""

    problems: list[str] = field(default_factory=list)
    commands: int = 0
    requests: int = 0
    chains: int = 0
    records: int = 0
    lost: int = 0
    doubled: int = 0
    dead_letters: int = 0

    def wrong(self, invariant: int, text: str) -> None:
        self.problems.append(f"{invariant}: {text}")
