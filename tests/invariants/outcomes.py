"""Invariant 1: one outcome and one effect for each command."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from schemas import topics
from schemas.commands import COMMANDS, CloseWindow
from tests.invariants.found import Acknowledged, Found
from tests.invariants.log import Log


def check_outcomes(log: Log, book: Iterable[Acknowledged], found: Found) -> None:
    """1: every acknowledged command has exactly one outcome, the one that the client was told, and one effect."""
    effects: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for place, record in log.audit.items():
        if record["code"] != "idempotency-key-reused":
            effects[record["command_id"]].append(place)
    for command_id, places in effects.items():
        if len(places) > 1:
            found.wrong(1, f"command {command_id} is in the audit stream {len(places)} times: {places}")
            found.doubled += 1
    for told in book:
        found.commands += 1
        settled = [one for one in log.outcomes.get(told.command_id, ()) if one["status"] != "failed"]
        distinct = {(one["status"], one["code"], one["request_id"], one["version"]) for one in settled}
        if not distinct:
            found.lost += 1
            found.wrong(1, f"acknowledged command {told.command_id} has no outcome")
            continue
        if len(distinct) > 1:
            found.doubled += 1
            found.wrong(1, f"command {told.command_id} has several outcomes: {sorted(map(str, distinct))}")
        one = settled[0]
        expected = ("accepted", None) if told.status < 300 else ("refused", told.code)
        if (one["status"], one["code"]) != expected:
            found.wrong(1, f"command {told.command_id}: told {expected}, on record {(one['status'], one['code'])}")
        expected_version = one["version"] if told.version is None else told.version
        if told.status < 300 and (one["request_id"], one["version"]) != (told.request_id, expected_version):
            found.wrong(1, f"command {told.command_id}: told version {told.version}, on record {one['version']}")
        if not effects.get(told.command_id):
            found.lost += 1
            found.wrong(1, f"acknowledged command {told.command_id} is in no audit chain")


def check_fates(log: Log, bad: Iterable[tuple[int, int]], found: Found) -> None:
    """1: every record of the commands topic came to an end: an outcome, or a dead letter, or a window's closing.

    `bad` are the places of records that cannot have been decided: exactly those and no others of theirs have a dead letter.
    """
    found.dead_letters = len(log.dead)
    for place in sorted(set(bad) - log.dead):
        found.wrong(1, f"the record at {place} of {topics.COMMANDS} is no command, and has no dead letter")
    for record in log.commands:
        place = (record.partition, record.offset)
        if place in log.dead:
            continue
        try:
            command = COMMANDS.validate_json(record.value or b"")
        except ValueError:
            found.wrong(1, f"the record at {place} of {topics.COMMANDS} cannot be read, and has no dead letter")
            continue
        if not isinstance(command, CloseWindow) and command.command_id not in log.outcomes:
            found.wrong(1, f"command {command.command_id} at {place} of {topics.COMMANDS} has no outcome")
