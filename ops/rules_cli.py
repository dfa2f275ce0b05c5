"""`athena rules check|push`: a rules file against the stack's reference data, and publishing it."""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError
from pydantic import ValidationError

from ops.kafka_clients import Kafka
from ops.reference import ReferenceFollower
from ops.reference_commands import send
from ops.stack.errors import StackError
from ops.stack.home import Home
from rules.check import Reference, check
from rules.file import RulesFileError, parse_rules
from schemas.catalog import Catalog
from schemas.commands import SYSTEM
from schemas.outcomes import Outcome
from schemas.reference import PutEntity, RulesBody

OUTCOME_TIME_OUT = 30.0
CATALOG_TIME_OUT = 30.0
OK, FINDINGS, UNREADABLE, UNREACHABLE = 0, 1, 2, 3


def check_file(home: Home, path: Path, as_json: bool = False) -> int:
    """Check a file: against the reference data of the stack in `home` where one runs, else only whether it can be read.

    Exit code 0 no errors (warnings may be), 1 errors, 2 the file cannot be read.
    """
    text = read_file(path)
    if text is None:
        return UNREADABLE
    try:
        file = parse_rules(text)
    except RulesFileError as error:
        return _report(path, [finding.model_dump(mode="json") for finding in error.findings], as_json, checked=True)
    catalog = _catalog_of(home)
    found = (
        [] if catalog is None else [finding.model_dump(mode="json") for finding in check(file, Reference.of(catalog))]
    )
    return _report(path, found, as_json, checked=catalog is not None)


def push_file(home: Home, path: Path, comment: str | None, as_json: bool = False) -> int:
    """Publish a file on top of the version that is current now.

    Exit code 0 published, 1 refused (the findings are printed), 2 the file cannot be read, 3 Kafka or the worker is not reached.
    """
    text = read_file(path)
    if text is None:
        return UNREADABLE
    try:
        body = RulesBody(yaml=text, comment=comment)
    except ValidationError as error:
        print("; ".join(str(one["msg"]) for one in error.errors()), file=sys.stderr)
        return UNREADABLE
    try:
        outcome = asyncio.run(push(home.kafka, body))
    except (StackError, KafkaError, OSError, TimeoutError) as error:
        print(f"The rules were not published: {error}", file=sys.stderr)
        return UNREACHABLE
    return _report_push(path, outcome, as_json)


async def push(kafka: Kafka, body: RulesBody) -> Outcome:
    """Publish on top of the current version, and wait for the outcome.

    Raises:
        StackError, KafkaError, OSError, TimeoutError: Kafka or the worker did not answer within 30 s each.
    """
    current = (await read_catalog(kafka)).current_rules
    command = PutEntity(
        command_id=str(uuid.uuid4()),
        actor_id=SYSTEM,
        correlation_id=str(uuid.uuid4()),
        salt=secrets.token_hex(16),
        expected_version=0 if current is None else int(current.id),
        entity_id="rules",
        body=body,
    )
    return (await send(kafka, [command], OUTCOME_TIME_OUT))[command.command_id]


async def read_catalog(kafka: Kafka) -> Catalog:
    """The reference data as they stand now.

    Raises:
        KafkaError, OSError, TimeoutError: the broker did not answer within 30 s.
    """
    follower = ReferenceFollower(kafka)
    try:
        async with asyncio.timeout(CATALOG_TIME_OUT):
            await follower.start(CATALOG_TIME_OUT)
        return follower.catalog
    finally:
        await follower.stop()


def _catalog_of(home: Home) -> Catalog | None:
    try:
        home.endpoints()
        return asyncio.run(read_catalog(home.kafka))
    except (StackError, KafkaError, OSError, TimeoutError):
        return None


def read_file(path: Path) -> str | None:
    """The file's text as it is, line ends too; None, and a sentence on stderr, when it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        print(f"{path} cannot be read: {error}", file=sys.stderr)
        return None


def _report(path: Path, findings: list[dict[str, Any]], as_json: bool, *, checked: bool) -> int:
    errors = sum(1 for finding in findings if finding["severity"] == "error")
    if as_json:
        print(json.dumps({"ok": errors == 0, "checked": checked, "findings": findings}))
    else:
        print_findings(path, findings)
        if not checked:
            print("No stack runs here: the file was read, but not checked against reference data.")
        print(f"{path}: {errors} errors, {len(findings) - errors} warnings")
    return FINDINGS if errors else OK


def _report_push(path: Path, outcome: Outcome, as_json: bool) -> int:
    findings = outcome.findings or []
    accepted = outcome.status == "accepted"
    if as_json:
        said = {"ok": accepted, "version": outcome.version, "code": outcome.code, "findings": findings}
        print(json.dumps(said))
    else:
        print_findings(path, findings)
        print(
            f"Published version {outcome.version}." if accepted else f"Refused: {outcome.code}. {outcome.detail or ''}"
        )
    return OK if accepted else FINDINGS


def print_findings(path: Path, findings: Iterable[Mapping[str, Any]]) -> None:
    """A line for each, as compilers write them."""
    for finding in findings:
        where = ":".join(str(part) for part in (path, finding.get("line"), finding.get("column")) if part is not None)
        print(f"{where}: {finding['severity']} [{finding['code']}] {finding['message']}")
