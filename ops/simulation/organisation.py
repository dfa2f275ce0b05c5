"""A small organisation with small pools and short windows, and the log that its making leaves behind."""

from __future__ import annotations

from functools import cache
from typing import Any

from agents.ports import Effects, Incoming
from agents.reference import CATALOG, ReferenceShard
from agents.rules_in_force import CompiledRules
from ops.simulation.broker import START_MS, Broker, Clock
from ops.simulation.shards import PARTITIONS
from ops.simulation.stores import MemoryStore
from rules.engine import RulesEngine
from rules.file import parse_rules
from schemas import topics
from schemas.catalog import Catalog
from schemas.commands import SYSTEM
from schemas.envelope import derived_id
from schemas.reference import PutEntity
from schemas.topics import DAY_MS

SALES = ("sam", "sue", "mia")
MANAGERS = ("mia", "abe", "bea", "cal", "dee")
PEOPLE = (*SALES, "abe", "bea", "cal", "dee", "adm", "aud")
CATEGORIES = ("travel", "tools")
#: (category, level, approver, region)
ASSIGNMENTS = (
    ("travel", "L1", "abe", None), ("travel", "L1", "bea", None), ("travel", "L1", "mia", None),
    ("travel", "L2", "bea", None), ("travel", "L2", "cal", None), ("travel", "L3", "dee", None), ("travel", "L3", "abe", None),
    ("tools", "L1", "abe", None), ("tools", "L1", "cal", None), ("tools", "L1", "bea", "south"), ("tools", "L1", "mia", "south"),
    ("tools", "L2", "cal", None), ("tools", "L2", "dee", None), ("tools", "L3", "dee", None), ("tools", "L3", "mia", None),
)  # fmt: skip
RULES = tuple(
    f"""schema: 1
base_currency: EUR
rollback_window: {window}
{times}
fx: {{USD: "0.92"}}
rules:
  - id: small
    when: {{amount: {{lt: "100"}}}}
    levels: [L1]
  - id: middle
    when: {{amount: {{lt: "1000"}}}}
    levels: [L1, L2]
    quorum: {{{quorum}}}
    remind_after: 4s
default: {{id: default, levels: [L1, L2, L3]}}
"""
    for window, quorum, times in (
        ("20s", "L1: 2", "remind_after: 8s\nescalate_after: 16s"),
        ("45s", "L2: all", "escalate_after: 30s"),
        ("5s", "L1: any", "remind_after: 40s"),
    )
)
AMOUNTS = ("50.00", "99.99", "500", "500.5", "20000.00")
LONGEST_WINDOW_MS = 45_000


#: Who is away from the beginning, and who votes for them; one of them files requests too, on which the other decides.
STAND_INS = (("abe", "dee"), ("cal", "mia"))


def user_body(name: str, *, active: bool = True) -> dict[str, Any]:
    roles = [role for role, members in (("sales", SALES), ("manager", MANAGERS)) if name in members]
    roles += [role for role, member in (("admin", "adm"), ("auditor", "aud")) if name == member]
    department = "south" if name in ("sue", "bea") else "north"
    return {
        "kind": "user", "email": f"{name}@athena.test", "name": name, "roles": tuple(roles), "department_id": department,
        "active": active,
    }  # fmt: skip


def assignment_id(category: str, level: str, approver: str) -> str:
    return f"{category}-{level}-{approver}"


def delegation_id(delegator: str, delegate: str) -> str:
    return f"{delegate}-for-{delegator}"


def _bodies() -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = [
        (name, {"kind": "department", "name": name, "region": name}) for name in ("north", "south")
    ]
    found += [(name, user_body(name)) for name in PEOPLE]
    found += [(name, {"kind": "category", "name": name}) for name in CATEGORIES]
    found += [("any", {"kind": "reason", "text": "any"}), ("gone", {"kind": "reason", "text": "gone", "active": False})]
    for category, level, approver, region in ASSIGNMENTS:
        fields = {"category_id": category, "level": level, "approver_id": approver, "region": region}
        found.append((assignment_id(category, level, approver), {"kind": "assignment", **fields}))
    times = {"from_ms": START_MS, "until_ms": START_MS + 30 * DAY_MS}
    found += [
        (delegation_id(*pair), {"kind": "delegation", "delegator_id": pair[0], "delegate_id": pair[1], **times})
        for pair in STAND_INS
    ]
    found.append(("rules", {"kind": "rules", "yaml": RULES[0]}))
    return found


@cache
def baseline() -> Broker:
    """The log after the organisation was made; to be copied, not changed."""
    broker = Broker(Clock())
    store = MemoryStore()
    shard = ReferenceShard(store, PARTITIONS, 0, 0)
    for id_, body in _bodies():
        command_id = derived_id("simulation", body["kind"], id_)
        command = PutEntity.model_validate(
            {"command_id": command_id, "actor_id": SYSTEM, "correlation_id": command_id, "entity_id": id_, "body": body}
        )
        value = command.model_dump_json().encode()
        offset = broker.append(topics.REFERENCE_COMMANDS, 0, id_.encode(), value, [])
        effects = Effects()
        shard.handle(Incoming(topics.REFERENCE_COMMANDS, 0, offset, broker.clock.now, id_.encode(), value, []), effects)
        for key, data in effects.rows(CATALOG).items():
            broker.append(topics.CATALOG_CHANGELOG, 0, key, data, [])
        for output in effects.outputs:
            assert b'"refused"' not in (output.value or b""), output.value
            broker.append(output.topic, output.partition or 0, output.key, output.value, output.headers)
    broker.committed[topics.REFERENCE_COMMANDS, 0] = broker.end(topics.REFERENCE_COMMANDS, 0)
    return broker


def fresh_broker() -> Broker:
    """A log with the organisation and nothing else."""
    made = Broker(Clock())
    before = baseline()
    for place, rows in before.logs.items():
        made.logs[place] = list(rows)
    for place, latest in before.latest.items():
        made.latest[place] = dict(latest)
    made.committed.update(before.committed)
    return made


@cache
def _compiled(yaml: str) -> tuple[Any, RulesEngine]:
    file = parse_rules(yaml)
    return file, RulesEngine(file, 1)


def rules_in_force(catalog: Catalog) -> CompiledRules | None:
    """The newest rules of a catalog, compiled once per text for all runs."""
    newest = catalog.current_rules
    if newest is None:
        return None
    file, engine = _compiled(newest.yaml)
    return CompiledRules(newest.version, file, engine)
