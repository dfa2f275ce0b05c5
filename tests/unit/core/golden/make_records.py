"""Writes the stored samples of table records in today's format: run it once per format, and never again for a released one.

`python -m tests.unit.core.golden.make_records`
"""

from __future__ import annotations

import uuid
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from agents.requests import CHAINS, REQUESTS
from schemas.events import written
from schemas.reference import Delegation
from schemas.view import request_view
from tables.record import FORMAT, Emission, Record, Refusal
from tests.unit.agents.harness import Worker
from tests.unit.core import organisation as org
from tests.unit.core.organisation import (
    approve,
    close,
    comment,
    escalate,
    reassign,
    reject,
    remind,
    rollback,
    submit,
    withdraw,
)  # fmt: skip

_ids = (str(uuid.UUID(int=number + (4 << 76))) for number in count(1))


def lives() -> dict[str, Worker]:
    """Between them: every event type, refusals of both tables, what is settled and what is not, a delegate, an escalation."""
    busy, closed, ended = Worker(), Worker(rules=org.fixed_rules(("L1",))), Worker()
    for ms, command in enumerate(
        (
            submit(command_id=next(_ids)),
            approve("ann", command_id=next(_ids), comment="A “comment” 🎉"),
            approve("ann", command_id=next(_ids)),
            comment(command_id=next(_ids)),
            reassign("L2", command_id=next(_ids)),
        )
    ):
        busy.send(command, ms)
    busy.settle(4)
    busy.send(approve("cid", command_id=next(_ids), device_time="2026-05-28T20:00:00Z"), 5)
    busy.send(approve("tom", command_id=next(_ids), comment="let me in"), 6)
    busy.send(rollback("cid", command_id=next(_ids)), 7)
    stranger = "00000000-0000-4000-8000-00000000abcd"
    busy.send(approve("dee", command_id=next(_ids), request_id=stranger, comment="who"), 8)
    for worker, last in ((closed, reject("ann", command_id=next(_ids))), (ended, withdraw(command_id=next(_ids)))):
        worker.send(submit(command_id=next(_ids)))
        worker.send(last, 1)
    closed.send(close(2, command_id=next(_ids)), 25 * org.HOUR)
    held = org.catalog()
    held.put(org.user("gil", "manager"))
    held.put(Delegation(id="d", version=1, delegator_id="cid", delegate_id="gil", from_ms=org.START, until_ms=2**42))
    waiting = Worker(held, org.fixed_rules(("L1", "L2"), remind_after=10, escalate_after=20))
    waiting.send(submit(command_id=next(_ids)))
    waiting.send(remind(1, command_id=next(_ids)), 10)
    waiting.send(escalate(1, command_id=next(_ids)), 20)
    waiting.send(approve("gil", command_id=next(_ids)), 30)
    waiting.send(remind(4, command_id=next(_ids)), 40)
    return {"request": busy, "closed": closed, "withdrawn": ended, "waiting": waiting}


def sample(data: bytes) -> dict[str, Any]:
    """The bytes, and what must be read from them."""
    record = Record.decode(data)
    return {
        "format": data[0],
        "hex": data.hex(),
        "entity": record.entity,
        "request_id": record.request_id,
        "events": [written(event) for event in record.events],
        "made": {id_: list(made) for id_, made in record.made.items()},
        "refusals": [[getattr(one, name) for name in Refusal.__slots__] for one in record.refusals.values()],
        "emissions": [[getattr(one, name) for name in Emission.__slots__] for one in record.emissions],
        "offset": record.offset,
        "seq": record.seq,
        "head": record.head,
        "closes_at": None if record.state is None else record.state.closes_at,
        "due": None if record.due is None else [record.due.at, record.due.kind],
        "view": None if record.state is None else request_view(record.state),
    }


if __name__ == "__main__":
    found = lives()
    rows = {name: worker.stores[REQUESTS].rows for name, worker in found.items()}
    rows["partition"] = found["request"].stores[CHAINS].rows
    for name, held in rows.items():
        (data,) = held.values()
        path = Path(__file__).parent / "records" / f"{name}-{FORMAT}.json"
        path.write_bytes(orjson.dumps(sample(data), option=orjson.OPT_INDENT_2))
