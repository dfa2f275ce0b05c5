"""Who may do what in Kafka, and that every client is made where TLS is decided."""

from __future__ import annotations

import re
from pathlib import Path

from agents.topology import CHANGELOGS, OUTPUTS, TABLES
from ops.kafka_acls import GRANTS, Kind, May, table
from schemas import topics

ROOT = Path(__file__).resolve().parents[3]


def granted(service: str, may: May, kind: Kind = Kind.TOPIC) -> set[str]:
    return {grant.name for grant in GRANTS if (grant.service, grant.may, grant.kind) == (service, may, kind)}


def test_the_page_says_what_is_granted() -> None:
    """Otherwise who reviews the rights would review something else."""
    assert table() in (ROOT / "docs" / "operate.md").read_text(encoding="utf-8"), table()


def test_a_worker_may_do_what_its_shards_do_and_no_more() -> None:
    """Otherwise a new topic of a shard would stop every worker under TLS, or a dropped one stay open to it."""
    changelogs = set(CHANGELOGS.values())
    outputs = {name for names in OUTPUTS.values() for name in names}
    assert granted("worker", May.READ) == set(TABLES) | changelogs | {topics.REFERENCE}
    assert granted("worker", May.WRITE) == outputs | changelogs | {topics.COMMANDS}
    assert granted("worker", May.WRITE, Kind.TRANSACTIONAL_ID) == {f"{topic}-" for topic in TABLES}


def test_the_gateway_may_command_and_never_decide() -> None:
    """Otherwise who breaks into the one process that faces the world could write approvals into the audit log."""
    assert granted("gateway", May.WRITE) == {topics.COMMANDS, topics.REFERENCE_COMMANDS, topics.SECURITY}
    assert granted("gateway", May.WRITE, Kind.TRANSACTIONAL_ID) == set()
    assert granted("gateway", May.READ, Kind.GROUP) == set()


def test_no_client_is_made_past_the_certificates() -> None:
    """Otherwise one forgotten client would be the plain line, or the process that does not start under TLS."""
    made = re.compile(r"\b(AIOKafka(?:Consumer|Producer|AdminClient)|asyncpg\.connect)\(|kafka://")
    found = {
        f"{path.relative_to(ROOT)}"
        for folder in ("agents", "gateway", "ops", "rules", "schemas", "tables")
        for path in (ROOT / folder).rglob("*.py")
        if made.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"ops/kafka_clients.py", "ops/postgres/clients.py"}
