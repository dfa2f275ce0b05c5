"""`athena rules diff|simulate`: a rules file beside a published one, and against the requests on record."""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka.errors import KafkaError

from ops.checking.requests import copy_submissions, count, decision_ms, events_of
from ops.postgres.clients import connect
from ops.rules_cli import FINDINGS, OK, UNREACHABLE, UNREADABLE, print_findings, read_catalog, read_file
from ops.stack.errors import StackError
from ops.stack.home import Home
from rules.check import Reference
from rules.difference import difference
from rules.file import parse_rules
from rules.model import RulesFileError
from rules.simulate import Simulation
from schemas.catalog import Catalog

#: Seconds for all of a simulation, and requests between two lines of progress.
LONGEST = 3600.0
STEP = 20_000


def diff_file(home: Home, path: Path, version: int | None, as_json: bool = False) -> int:
    """Compare a file with a published version. Exit code 0 equal, 1 different, 2 no such file or version, 3 no stack."""
    text = read_file(path)
    if text is None:
        return UNREADABLE
    try:
        catalog = _catalog(home)
    except (StackError, KafkaError, OSError, TimeoutError) as error:
        print(f"The published rules cannot be read: {error}", file=sys.stderr)
        return UNREACHABLE
    rules = catalog.current_rules if version is None else catalog.rules.get(version)
    if rules is None:
        print(f"There is no version {version or 'yet'}.", file=sys.stderr)
        return UNREADABLE
    found = difference(rules.yaml, text, (f"version {rules.version}", str(path)))
    if as_json:
        print(json.dumps({"version": rules.version, "equal": rules.yaml == text, **found}))
    else:
        print(found["text"], end="")
        for what, ids in found["rules"].items():
            if ids:
                print(f"{what}: {', '.join(ids)}")
        if found["settings"]:
            print(f"settings: {', '.join(found['settings'])}")
    return OK if rules.yaml == text else FINDINGS


def simulate_file(home: Home, path: Path, since: datetime | None, as_json: bool = False) -> int:
    """Route all requests on record by a file. Exit code 0 none would go otherwise, 1 some would, 2 the file cannot be read, 3 no
    stack."""
    text = read_file(path)
    if text is None:
        return UNREADABLE
    try:
        file = parse_rules(text)
    except RulesFileError as error:
        print_findings(path, [finding.model_dump(mode="json") for finding in error.findings])
        return UNREADABLE
    try:
        simulation = Simulation(file, Reference.of(_catalog(home)))
        found = asyncio.run(simulate(str(home.endpoints()["postgres"]), simulation, since, _tell))
    except (StackError, KafkaError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        print(f"The requests on record cannot be read: {error}", file=sys.stderr)
        return UNREACHABLE
    print(json.dumps(found) if as_json else _words(found))
    changes = found["rerouted"] + sum(found["refused"].values())
    return FINDINGS if changes else OK


async def simulate(
    dsn: str, simulation: Simulation, since: datetime | None, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Run all requests of a database through the simulation; its result. `progress(done, of)` now and then."""
    connection = await connect(dsn, timeout=10)
    try:
        took, of = await decision_ms(connection), await count(connection, since)
        rest = b""

        async def take(data: bytes) -> None:
            nonlocal rest
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            for request_id, event in events_of(lines):
                simulation.add(request_id, event)
                if simulation.requests % STEP == 0:
                    progress(simulation.requests, of)

        await copy_submissions(connection, since, take, LONGEST)
        return simulation.result(took)
    finally:
        connection.terminate()


def _catalog(home: Home) -> Catalog:
    home.endpoints()
    return asyncio.run(read_catalog(home.kafka))


def _tell(done: int, of: int) -> None:
    print(f"{done} of {of} requests", file=sys.stderr, flush=True)


def _words(found: dict[str, Any]) -> str:
    lines = [f"{found['requests']} requests, {found['rerouted']} would go another way."]
    lines += [
        f"  {one['from']} -> {one['to']}: {one['count']}, such as {', '.join(one['examples'][:2])}"
        for one in found["by_rule"]
    ]
    lines += [
        f"{level}: {one['before']} approvals before, {one['after']} after" for level, one in found["approvals"].items()
    ]
    lines += [
        f"{one['count']} would not pass {level} any more: {one['base_amount']['amount']} {one['base_amount']['currency']}"
        for level, one in found["escaped"].items()
    ]
    lines += [f"{number} would be refused: {code}" for code, number in found["refused"].items() if number]
    hours = found["approver_hours"]
    lines.append(f"Hours until a decision, by the medians of late: {hours['before']} before, {hours['after']} after.")
    return "\n".join(lines)
