"""How much memory each process needs at most, in MB (Pss): derived in `docs/operate.md`, held by the soak and by filling."""

from __future__ import annotations

from collections.abc import Mapping

from ops.bench.result import Target
from ops.bench.running import kind_of

#: With the demo organisation, up to a million requests, 4 partitions, and what 32 people ask for.
MEMORY_MB: Mapping[str, float] = {"kafka": 800, "postgres": 400, "gateway": 300, "projector": 250, "worker": 512}


def memory_targets(most: Mapping[str, float]) -> list[Target]:
    """`most`: MB by process; of several workers each is one."""
    return [Target(f"MB of {name} at most", value, MEMORY_MB[kind_of(name)]) for name, value in most.items()]
