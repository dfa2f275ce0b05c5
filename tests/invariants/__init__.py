"""The invariants of `quality.md`, checked by reading the log and the database of a stack: used by crash and load tests.

`check(home)` reads everything; each finding is one sentence that begins with the invariant's number. Nothing found: all hold.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from ops.stack.home import Home
from tests.invariants.database import caught_up, check_database
from tests.invariants.found import Acknowledged, Found
from tests.invariants.log import Log, event_of, read
from tests.invariants.outcomes import check_fates, check_outcomes
from tests.invariants.replayed import check_replay
from tests.invariants.requests import SWEEP_GRACE, check_chains, check_windows, replay
from tests.invariants.table import check_table

__all__ = ["SWEEP_GRACE", "Acknowledged", "Found", "Log", "caught_up", "check", "event_of", "read", "replay"]


async def check(home: Home, book: Iterable[Acknowledged] = (), bad: Iterable[tuple[int, int]] = ()) -> Found:
    """Read everything once nothing moves any more, and check invariants 1 to 8. `bad`: see `check_fates`."""
    await caught_up(home)
    found = Found()
    log = Log(found)
    await log.load(home.kafka)
    check_outcomes(log, book, found)
    check_fates(log, bad, found)
    states = replay(log, found)
    found.requests = len(states)
    check_chains(log, found)
    check_table(log, states, found)
    check_windows(states, int(time.time() * 1000), found)
    await check_database(home.endpoints()["postgres"], log, states, found)
    await check_replay(home, log.audit_records, found)
    return found
