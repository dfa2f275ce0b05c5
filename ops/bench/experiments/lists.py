"""How long a page of 50 takes, of lists of any length, at any depth; and whether PostgreSQL walks an index for it.

PostgreSQL is filled with copies of two real requests: one in ten waits for the L1 approver, one in ten is the requester's own. Each
call is made over HTTP, one at a time. The plan is that of the gateway's own statement (EXPLAIN ANALYZE). It counts as an index walk
when no table is read whole, and at most ten rows are looked at for each one answered, or no more than half as many again as with a
tenth of the requests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from gateway.feed import bookmarks
from gateway.feed.bookmarks import Bookmark
from gateway.feed.pages import scope_of
from gateway.http.cursors import Cursors
from gateway.identity.callers import Caller
from gateway.sql import history, lists, requests, updates
from gateway.sql.lists import Filters
from ops.bench import read_side
from ops.bench.experiments.options import Options
from ops.bench.experiments.worker import standing_still
from ops.bench.figures import percentile
from ops.bench.load import PASSWORD, Load, Measured
from ops.bench.plans import Explaining, Plan
from ops.bench.result import Cell, Result, Table, Target
from ops.bench.running import Meter, await_rules, bench_stack, progress_of, say, server_processes
from ops.postgres.clients import connect
from ops.secrets.secret import Secret
from ops.stack.home import Home
from schemas.reference import Role, User

LIMIT = 50
#: Issue 7, ms.
TARGET_MS = 20.0
PEOPLE: dict[str, tuple[Role, ...]] = {
    "admin": ("admin",),
    "sam.sales": ("sales",),
    "l1.emea": ("manager",),
    "l3": ("manager",),
}
#: A call that is slow is made fewer times: at least so many, for so long.
FEWEST, LONGEST_S = 5, 4.0
_TIMES = {"short": 10, "long": 200}

Position = tuple[datetime, str]
Ask = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """A call, and the same question put to the gateway's SQL."""

    name: str
    who: str
    path: str
    ask: Ask
    parameters: dict[str, str] = field(default_factory=dict)


def run(options: Options) -> Result:
    """All lists, on a stack of its own that is thrown away."""
    size = options.size or options.pick(2_000, 1_000_000)
    with bench_stack() as home:
        return asyncio.run(on(home, size, _TIMES[options.form]))


async def on(home: Home, size: int, times: int) -> Result:
    """With `size` requests, each call so often. Afterwards the stack is good for nothing: its log knows nothing of them."""
    originals = await _originals(home)
    projector = int(home.endpoints()["pids"]["projector"])
    database = await connect(str(home.endpoints()["postgres"]), timeout=30)
    try:
        with standing_still([projector]):
            began = time.monotonic()
            told = progress_of("filling PostgreSQL")
            tenth = size // 10
            await read_side.fill(database, originals, range(tenth), size, told)
            if wrong := await read_side.differences(database, originals):
                raise RuntimeError(f"the copies are not what the projector writes: {'; '.join(wrong)}")
            few = {case.name: await _plan(case, database) for case in await _cases(home, database, tenth)}
            await read_side.fill(database, originals, range(tenth, size), size, told)
            seconds = time.monotonic() - began
            say(f"lists: {size} requests are in PostgreSQL after {seconds:.0f} s")
            return await _measure(home, database, size, times, few)
    finally:
        await database.close()


async def _plan(case: Case, database: asyncpg.Connection) -> Plan:
    explaining = Explaining(database)
    await case.ask(explaining)
    assert explaining.last is not None
    return explaining.last


async def _originals(home: Home) -> read_side.Originals:
    """One request that waits and one that is approved, in the read side."""
    load = Load(home.endpoints()["gateway"], home.trust)
    await load.open()
    try:
        await await_rules(load)
        waits, whole = Measured(), Measured()
        await load.alone(1, time.perf_counter(), waits)
        await load.whole(2, time.perf_counter(), whole)
        for measured in (waits, whole):
            await load.read_side(measured, 1)
        return read_side.Originals(waits.newest[0][0], whole.newest[0][0], "sam.sales")
    finally:
        await load.close()


async def _measure(home: Home, database: asyncpg.Connection, size: int, times: int, few: dict[str, Plan]) -> Result:
    cases = await _cases(home, database, size)
    rows: list[list[Cell]] = []
    notes = []
    seen, cost = _called(home, cases, times)
    for case, (taken, answered) in zip(cases, seen, strict=True):
        plan, before = await _plan(case, database), few[case.name]
        p50 = percentile(taken, 50) or 0.0
        walks = plan.is_index_walk(LIMIT + 1, before)
        figures: list[Cell] = [p50, percentile(taken, 99), plan.ms, before.touched, plan.touched, walks]
        rows.append([case.name, case.who, answered, *figures, _way(plan)])
        if not walks:
            looked = f"looked at {plan.touched:,} rows for {answered} ({before.touched:,} with a tenth)"
            notes.append(f"No index walk: {case.name} as {case.who} {looked}: {_way(plan)}.")
        if p50 > TARGET_MS:
            notes.append(f"Over {TARGET_MS:g} ms at the median: {case.name} as {case.who}, {p50:g} ms.")
    slowest = max(float(row[3] or 0) for row in rows)
    incoming = max(float(row[3] or 0) for row in rows if str(row[0]).startswith("/approvals/incoming"))
    looked_at = (f"looked at, of {number:,}" for number in (size // 10, size))
    columns = ["list", "as", "rows", "p50 ms", "p99 ms", "statement ms", *looked_at, "index walk", "indexes"]
    targets = [
        Target(f"p50 ms of the slowest page of {LIMIT} of {size:,}", slowest, TARGET_MS),
        Target(f"p50 ms of /approvals/incoming with {size // 10:,} open", incoming, TARGET_MS),
    ]
    note = f"CPU of a call, mean over all of these: gateway {cost['gateway']:.2f} ms, PostgreSQL {cost['postgres']:.2f} ms."
    return Result([Table(f"Pages of {LIMIT} of {size:,} requests", columns, rows, note)], targets=targets, notes=notes)


def _called(home: Home, cases: list[Case], times: int) -> tuple[list[tuple[list[float], int]], dict[str, float]]:
    """Of each case the ms of its calls and the rows of its page; and CPU ms of one call, by process."""
    with httpx.Client(base_url=f"{home.endpoints()['gateway']}/api/v1", timeout=60, verify=home.trust) as client:
        tokens = {who: _token(client, who) for who in PEOPLE}
        meter = Meter(server_processes(home))
        seen = [_timed(client, case, tokens[case.who], times) for case in cases]
        used = meter.document()["cpu_s"]
    calls = sum(len(taken) for taken, _ in seen)
    return seen, {name: 1000 * seconds / calls for name, seconds in used.items()}


def _token(client: httpx.Client, who: str) -> str:
    body = {"email": f"{who}@athena.test", "password": PASSWORD}
    return str(client.post("/auth/login", json=body).raise_for_status().json()["access_token"])


def _timed(client: httpx.Client, case: Case, token: str, times: int) -> tuple[list[float], int]:
    """ms of each call, and how many rows the page has."""
    seen: list[float] = []
    answered = 0
    started = time.perf_counter()
    while len(seen) < times and (len(seen) < FEWEST or time.perf_counter() - started < LONGEST_S):
        began = time.perf_counter()
        answer = client.get(
            case.path, params={"limit": str(LIMIT), **case.parameters}, headers={"Authorization": f"Bearer {token}"}
        )
        seen.append((time.perf_counter() - began) * 1000)
        found = answer.raise_for_status().json()
        answered = len(found["items"]) + len(found.get("gone", ()))
    return seen, answered


def _way(plan: Plan) -> str:
    return ", ".join([*plan.indexes, *(f"{table} whole" for table in plan.whole)])


async def _cases(home: Home, database: asyncpg.Connection, size: int) -> list[Case]:
    cursors = Cursors(Secret("cursor-key", home.secret("cursor-key").read_text(encoding="utf-8").strip()))
    own = await _at(database, "requests.requests r", "r.requester_id = 'sam.sales'", "r.created_at", "r.id", size // 20)
    middle = await _at(database, "requests.requests r", "true", "r.created_at", "r.id", size // 2)
    last = await _at(database, "requests.requests r", "true", "r.created_at", "r.id", size - 2 * LIMIT)
    theirs = "requests.participants p"
    of_l3 = await _at(database, theirs, "p.approver_id = 'l3'", "p.created_at", "p.request_id", size // 2)
    open_ = await _at(
        database, theirs, "p.approver_id = 'l1.emea' AND p.waiting", "p.created_at", "p.request_id", size // 20
    )
    recent = datetime.now(UTC) - timedelta(minutes=30)
    found = [
        _requests(cursors, "newest", "admin"),
        _requests(cursors, "in the middle", "admin", middle),
        _requests(cursors, "at the end", "admin", last),
        _requests(cursors, "status, a tenth", "admin", status="pending_l1"),
        _requests(cursors, "status, none has", "admin", status="withdrawn"),
        _requests(cursors, "category, nine tenths", "admin", category_id="meals"),
        _requests(cursors, "category, none has", "admin", category_id="travel"),
        _requests(cursors, "status and category, none has both", "admin", status="pending_l1", category_id="meals"),
        _requests(cursors, "since 30 min", "admin", since=recent),
        _requests(cursors, "since half of them, at the end", "admin", middle, since=middle[0]),
        _requests(cursors, "own, newest", "sam.sales"),
        _requests(cursors, "own, in the middle", "sam.sales", own),
        _requests(cursors, "own, status none has", "sam.sales", status="withdrawn"),
        _requests(cursors, "own, status only others have", "sam.sales", status="pending_l1"),
        _requests(cursors, "own, category none has", "sam.sales", category_id="travel"),
        _requests(cursors, "own, since 30 min", "sam.sales", since=recent),
        _requests(cursors, "theirs, newest", "l3"),
        _requests(cursors, "theirs, in the middle", "l3", of_l3),
        _requests(cursors, "theirs, status none has", "l3", status="withdrawn"),
        _requests(cursors, "theirs, status only others have", "l3", status="pending_l1"),
        _requests(
            cursors, "theirs, status and category, none has both", "l3", status="pending_l1", category_id="travel"
        ),
        _requests(cursors, "theirs, since 30 min", "l3", since=recent),
        _requests(cursors, "theirs, since half of them, at the end", "l3", middle, since=middle[0]),
        _incoming(cursors, "newest", None),
        _incoming(cursors, "in the middle", open_),
        _decisions(),
    ]
    partitions = await database.fetchval("SELECT count(*)::int FROM audit.applied_offsets")
    for name, vector in (
        ("from the beginning", {}),
        ("in the middle", dict.fromkeys(range(partitions), size // partitions // 2)),
        ("last ones", dict.fromkeys(range(partitions), size // partitions - 2)),
    ):
        found += [_own_updates(cursors, name, vector), _approval_updates(cursors, name, vector)]
    return found


async def _at(database: asyncpg.Connection, table: str, where: str, created: str, id_: str, depth: int) -> Position:
    """The position of the row that so many others come before."""
    row = await database.fetchrow(
        f"SELECT {created} AS at, {id_}::text AS id FROM {table} WHERE {where} "  # noqa: S608 - constants
        f"ORDER BY {created} DESC, {id_} DESC OFFSET {max(0, depth)} LIMIT 1"
    )
    return row["at"].astimezone(UTC), row["id"]


def _caller(who: str) -> Caller:
    roles = PEOPLE[who]
    user = User(id=who, version=1, email=f"{who}@athena.test", name=who, roles=roles, department_id="hq")
    return Caller(user, frozenset(roles), "bench")


def _requests(cursors: Cursors, name: str, who: str, after: Position | None = None, **filters: Any) -> Case:
    status, category, since = filters.get("status"), filters.get("category_id"), filters.get("since")

    def ask(database: Any) -> Awaitable[Any]:
        return lists.page(database, _caller(who), Filters(status, category, since), after, LIMIT)

    parameters = {
        key: value.isoformat().replace("+00:00", "Z") if key == "since" else value for key, value in filters.items()
    }
    if after is not None:
        scope = "\x1f".join([who, "requests", f"category={category}", f"since={since}", f"status={status}"])
        parameters["cursor"] = cursors.write(scope, [after[0].isoformat(), after[1]])
    return Case(f"/requests, {name}", who, "/requests", ask, parameters)


def _incoming(cursors: Cursors, name: str, after: Position | None) -> Case:
    who = "l1.emea"
    parameters = {}
    if after is not None:
        parameters["cursor"] = cursors.write(f"{who}\x1fapprovals/incoming", [after[0].isoformat(), after[1]])
    return Case(
        f"/approvals/incoming, {name}", who, "/approvals/incoming",
        lambda database: requests.waiting_for(database, _caller(who), after, LIMIT), parameters,
    )  # fmt: skip


def _decisions() -> Case:
    return Case(
        "/approvals/history, newest", "l3", "/approvals/history",
        lambda database: history.decisions(database, "l3", None, LIMIT),
    )  # fmt: skip


def _cursor(cursors: Cursors, who: str, endpoint: str, vector: dict[int, int]) -> dict[str, str]:
    if not vector:
        return {}
    mark = Bookmark(int(time.time()), vector)
    return {"cursor": cursors.seal(scope_of(who, endpoint), bookmarks.write(mark))}


def _own_updates(cursors: Cursors, name: str, vector: dict[int, int]) -> Case:
    who, endpoint = "sam.sales", "requests/updates"
    return Case(
        f"/{endpoint}, {name}", who, f"/{endpoint}",
        lambda database: updates.own(database, who, vector, LIMIT), _cursor(cursors, who, endpoint, vector),
    )  # fmt: skip


def _approval_updates(cursors: Cursors, name: str, vector: dict[int, int]) -> Case:
    who, endpoint = "l1.emea", "approvals/updates"
    return Case(
        f"/{endpoint}, {name}", who, f"/{endpoint}",
        lambda database: updates.approvals(database, who, [who], vector, LIMIT, told=False),
        _cursor(cursors, who, endpoint, vector),
    )  # fmt: skip
