"""Every list, with any filters, is answered from an index: what it reads hangs on the page, not on how long the list is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from gateway.identity.callers import Caller
from gateway.sql import audit, history, lists, requests, updates
from gateway.sql.lists import Filters, Position
from ops.bench.plans import Explaining
from schemas.state import Status
from tests.integration.projector_rig import Rig, servers

SIZE = 20_000
LIMIT = 10
START = datetime(2026, 1, 1, tzinfo=UTC)
#: Far fewer than in the product, so that a few thousand requests are many.
FEW, STEP = 200, 60
PARTITIONS = 4

# One in ten waits for L1; of the rest seven are rejected, and the others approved by three. Meals and hardware nobody has both of.
_FILL = """
CREATE TEMPORARY TABLE made AS SELECT n, md5('list ' || n)::uuid AS id,
  CASE WHEN n % 10 = 0 THEN 'pending_l1' WHEN n % 2801 = 1 THEN 'rejected' ELSE 'approved' END AS status,
  CASE WHEN n % 10 = 1 THEN 'sam' ELSE 'p' || n % 700 END AS requester_id,
  CASE WHEN n % 10 = 0 THEN 'meals' WHEN n % 3 = 0 THEN 'travel' ELSE 'training' END AS category_id,
  $2::timestamptz + n * interval '20 seconds' AS created_at,
  CASE WHEN n % 997 = 3 THEN interval '4 days' ELSE interval '1 minute' END AS lived, n % 4 AS partition, n / 4 AS log_offset
  FROM generate_series(0, $1::int - 1) AS n"""
_TABLES = """
INSERT INTO requests.requests SELECT id, 4, status, requester_id, category_id, 'hq', created_at, created_at + lived, '{}',
  partition, log_offset FROM made;
INSERT INTO requests.participants
  (approver_id, request_id, created_at, waiting, decided, left_by, partition, log_offset, status, category_id)
SELECT a, id, created_at, a = 'l1' AND status = 'pending_l1', a <> 'l1' AND status <> 'pending_l1',
  CASE WHEN a = 'l1' AND status <> 'pending_l1' THEN 'approve' END, partition, log_offset, status, category_id
  FROM made CROSS JOIN unnest(ARRAY['l1', 'l2', 'l3']) AS a WHERE a = 'l1' OR n % 10 > 1 OR a = 'l3' AND n % 10 = 1;
INSERT INTO requests.history (request_id, version, status, at, actor_id, action, level)
SELECT id, v, status, created_at + v * interval '1 second', CASE v WHEN 1 THEN requester_id ELSE 'l' || v - 1 END,
  CASE v WHEN 1 THEN 'submit' WHEN 2 THEN 'comment' WHEN 3 THEN 'rollback' ELSE 'approve' END, NULL
  FROM made CROSS JOIN generate_series(1, 4) AS v WHERE v = 1 OR status <> 'pending_l1';
INSERT INTO requests.votes SELECT id, 'L3', 'l3', 'approve', created_at, 4 FROM made WHERE status <> 'pending_l1';
INSERT INTO audit.records (entity, seq, schema_version, request_id, version, command_id, actor_id, actor_roles, action, at,
  outcome, correlation_id, commitments, prev_hash, hash, partition, log_offset)
SELECT 'request:' || request_id, version, 1, request_id::text, version, request_id::text, actor_id, '{}', action, at, 'accepted',
  'c', '{}', 'p', 'h', 0, row_number() OVER () FROM requests.history;
INSERT INTO audit.applied_offsets SELECT n, 1000000 FROM generate_series(0, 3) AS n;
"""
_ANALYZED = "requests.requests, requests.participants, requests.history, requests.votes, audit.records"


def _caller(who: str, role: str, *stands_for: str) -> Caller:
    user: Any = SimpleNamespace(id=who, roles=(role,), active=True)
    return Caller(user, frozenset({role}), "session", stands_for=stands_for)


CALLERS = [
    _caller("ada", "admin"),
    _caller("sam", "sales"),
    _caller("l3", "manager"),
    _caller("l2", "manager", "l1"),
    _caller("nobody", "manager"),
]


@dataclass
class Filled:
    """A read side of so many requests, and what is in it. `order`: all, newest first."""

    rig: Rig
    order: list[Any]
    people: dict[str, set[str]]

    def run(self, work: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
        async def live() -> None:
            connection = await asyncpg.connect(self.rig.home.database_url("superuser"), timeout=10)
            try:
                await work(connection)
            finally:
                await connection.close(timeout=5)

        asyncio.run(live())

    def expected(self, caller: Caller, filters: Filters) -> list[str]:
        """The ids of the whole list."""
        seen = set().union(*(self.people.get(one, set()) for one in caller.principals))
        return [
            row["id"] for row in self.order
            if (caller.sees_all or row["requester_id"] == caller.id or ("manager" in caller.roles and row["id"] in seen))
            and filters.status in (None, row["status"]) and filters.category_id in (None, row["category_id"])
            and (filters.since is None or row["updated_at"] >= filters.since)
        ]  # fmt: skip

    def after(self, id_: str) -> Position:
        row = next(row for row in self.order if row["id"] == id_)
        return row["created_at"], id_


@pytest.fixture(scope="module")
def filled() -> Iterator[Filled]:
    with servers() as rig:
        found = Filled(rig, [], {})

        async def fill(connection: asyncpg.Connection) -> None:
            await connection.execute(_FILL, SIZE, START)
            await connection.execute(_TABLES)
            # As in a life: there is no statistic of what is asked for, and pages are not known to be visible to all.
            await connection.execute(f"ANALYZE {_ANALYZED}")
            found.order = await connection.fetch(
                "SELECT id::text AS id, status, requester_id, category_id, created_at, updated_at FROM requests.requests r"
                " ORDER BY r.created_at DESC, r.id DESC"
            )
            for row in await connection.fetch("SELECT approver_id, request_id::text AS id FROM requests.participants"):
                found.people.setdefault(row["approver_id"], set()).add(row["id"])

        found.run(fill)
        yield found


def _sources(caller: Caller, filters: Filters) -> int:
    """Walks of an index that make up the list."""
    whose = 1 if caller.sees_all or "manager" not in caller.roles else 1 + len(caller.principals)
    return whose * (1 if filters.status else len(Status))


_STATUSES = (None, "approved", "pending_l1", "rejected", "withdrawn")
_CATEGORIES = (None, "travel", "meals", "hardware")


def test_a_list_by_status_and_category_reads_what_it_shows(filled: Filled) -> None:
    """Whoever asks for what few requests have would wait for all of them to be read."""

    async def ask(connection: asyncpg.Connection) -> None:
        for caller, status, category in itertools.product(CALLERS, _STATUSES, _CATEGORIES):
            filters = Filters(status, category)
            expected = filled.expected(caller, filters)
            most = (_sources(caller, filters) + 3) * (LIMIT + 1)
            for begin in {0, len(expected) // 2, len(expected) - 1} & set(range(len(expected) + (not expected))):
                after = filled.after(expected[begin - 1]) if begin else None
                explaining = Explaining(connection)
                found = await lists.page(explaining, caller, filters, after, LIMIT)  # type: ignore[arg-type]
                assert [row["id"] for row in found.rows] == expected[begin : begin + LIMIT]
                assert (found.next is None) == (begin + LIMIT >= len(expected))
                _bounded(explaining, most, (caller.id, filters, begin))

    filled.run(ask)


def test_a_list_of_what_changed_reads_no_more_than_its_bound(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phone that asks what changed would read the whole list."""
    monkeypatch.setattr(lists, "FEW", FEW)
    monkeypatch.setattr(lists, "STEP", STEP)
    end = START + timedelta(seconds=20 * SIZE)
    moments = [end - timedelta(minutes=30), START + timedelta(days=2), START, end + timedelta(days=9)]

    async def ask(connection: asyncpg.Connection) -> None:
        for caller, since, status, category in itertools.product(
            CALLERS, moments, (None, "rejected"), (None, "travel")
        ):
            filters = Filters(status, category, since)
            expected = filled.expected(caller, filters)
            most = max(4 * FEW, _sources(caller, filters) * (STEP + 1) * 2) + 3 * (LIMIT + 1)
            # The first pages, and then those at the far end, where what did not change lies between.
            begin, shown = None, expected
            for _ in range(2):
                explaining = Explaining(connection)
                found = await lists.page(explaining, caller, filters, begin, LIMIT)  # type: ignore[arg-type]
                assert [row["id"] for row in found.rows] == shown[: len(found.rows)]
                assert found.next is not None or len(shown) == len(found.rows)
                _bounded(explaining, most, (caller.id, filters, begin))
                if len(expected) <= LIMIT:
                    break
                begin, shown = filled.after(expected[-3]), expected[-2:]

    filled.run(ask)


def test_pages_of_what_changed_are_the_whole_list(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a page ends early, whoever follows the cursor would miss requests, or see them twice."""
    monkeypatch.setattr(lists, "FEW", FEW)
    monkeypatch.setattr(lists, "STEP", 700)
    since = START + timedelta(days=4, hours=12)

    async def ask(connection: asyncpg.Connection) -> None:
        from_database = _Plain(connection)
        for caller, status in itertools.product(CALLERS, (None, "approved")):
            filters = Filters(status, None, since)
            seen: list[str] = []
            after, pages = None, 0
            while pages == 0 or after is not None:
                found = await lists.page(from_database, caller, filters, after, 200)  # type: ignore[arg-type]
                seen += [row["id"] for row in found.rows]
                after, pages = found.next, pages + 1
                assert pages < 200
            assert seen == filled.expected(caller, filters)
            assert caller.id == "nobody" or pages > len(seen) / 200 + 1, "no page ended early"

    filled.run(ask)


class _Plain:
    """A connection as the gateway's database."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.rows, self.value = connection.fetch, connection.fetchval


def _bounded(explaining: Explaining, most: int, what: object) -> None:
    for plan in explaining.plans:
        assert not plan.whole, (what, plan)
        assert plan.touched <= most, (what, plan)


def test_approvals_read_what_they_show(filled: Filled) -> None:
    """An approver with many open requests would wait for all of them to be read, at every look."""

    async def ask(connection: asyncpg.Connection) -> None:
        middle = filled.after(filled.order[SIZE // 2]["id"])
        for after, caller in itertools.product((None, middle), CALLERS[2:]):
            explaining = Explaining(connection)
            await requests.waiting_for(explaining, caller, after, LIMIT)  # type: ignore[arg-type]
            _bounded(explaining, 6 * (LIMIT + 1) * len(caller.principals), (caller.id, after))
        for decided in (None, (*middle, 4)):
            explaining = Explaining(connection)
            rows = await history.decisions(explaining, "l3", decided, LIMIT)  # type: ignore[arg-type]
            assert len(rows) == LIMIT + 1
            _bounded(explaining, 5 * (LIMIT + 1), decided)
            explaining = Explaining(connection)
            # All that they did was taken back.
            assert not await history.decisions(explaining, "l2", decided, LIMIT)  # type: ignore[arg-type]
            _bounded(explaining, 0, decided)

    filled.run(ask)


def test_updates_read_what_they_show(filled: Filled) -> None:
    """A phone that comes back would wait for all that it ever had."""

    async def ask(connection: asyncpg.Connection) -> None:
        for begin in (0, SIZE // PARTITIONS // 2, SIZE // PARTITIONS):
            vector = dict.fromkeys(range(PARTITIONS), begin)
            explaining = Explaining(connection)
            await updates.own(explaining, "sam", vector, LIMIT)  # type: ignore[arg-type]
            for who in ("l1", "l3"):
                await updates.approvals(explaining, who, [who], vector, LIMIT, told=True)  # type: ignore[arg-type]
            _bounded(explaining, (PARTITIONS + 12) * (LIMIT + 1), begin)

    filled.run(ask)


def test_the_audit_log_reads_what_it_shows(filled: Filled) -> None:
    """An auditor who looks for what seldom happens would wait for the whole log to be read."""

    async def ask(connection: asyncpg.Connection) -> None:
        row = filled.order[SIZE // 2 + 2]
        moment = row["created_at"]
        for user, request, action, since, until, after in itertools.product(
            (None, "l1", "sam", "nobody"), (None, row["id"]), (None, "approve", "rollback", "withdraw"), (None, moment),
            (None, moment), (None, (moment, 0, SIZE)),
        ):  # fmt: skip
            explaining = Explaining(connection)
            await audit.page(
                explaining, user_id=user, request_id=request, action=action, since=since, until=until, after=after,  # type: ignore[arg-type]
                limit=LIMIT,
            )  # fmt: skip
            _bounded(explaining, 12 * (LIMIT + 1), (user, request, action, since, until, after))

    filled.run(ask)
