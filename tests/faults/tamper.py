"""Tampering with the audit log, every way that somebody with the superuser's password and the broker's disk could think of.

`python -m tests.faults.tamper` does it all on servers of its own and prints what was done and how `athena audit verify` named it.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from agents.checkpointer.growth import Growth
from ops.audit.commands import export
from ops.audit.found import Broken, Report, plain
from ops.audit.source import FolderSource, KafkaSource, Source, file_of
from ops.audit.verify import Trust, verify_at
from ops.stack import credentials
from schemas import topics
from schemas.audit import chain_hash
from schemas.checkpoints import Checkpoint, CheckpointRecord, opened
from schemas.notes import load_private_key
from tests.integration.projector_rig import Rig, servers, wait_until
from tests.unit.projector.stories import Chain, Story, reference

#: Tables that verify claims, with what names one row of each.
TABLES = {
    "audit.records": "entity = '{entity}' AND seq = 3",
    "audit.personal": "entity = '{entity}' AND seq = 3",
    "requests.requests": "id = '{id}'",
    "requests.history": "request_id = '{id}' AND version = 3",
}
#: One byte more or less, by type.
CHANGE = {
    "text": "CASE WHEN {c} IS NULL THEN 'x' WHEN right({c}, 1) = '0' THEN left({c}, -1) || '1' ELSE left({c}, -1) || '0' END",
    "integer": "coalesce({c}, 0) + 100",
    "bigint": "{c} + 100",
    "ARRAY": "{c} || '{{admin}}'",
    "timestamp with time zone": "{c} + interval '1 ms'",
    "uuid": "(CASE WHEN right({c}::text, 1) = '0' THEN left({c}::text, -1) || '1' ELSE left({c}::text, -1) || '0' END)::uuid",
}


@dataclass(frozen=True)
class Case:
    """One way to tamper. `expects` are (entity, seq) pairs of which the break must be one; entities `…*` by their beginning."""

    what: str
    where: str
    tamper: Callable[[Bench], Sequence[tuple[str, int | None]]]


class Bench:
    """Servers with some hundred audit records under checkpoints, a copy of the stream, and everything put back after each case."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.rig = rig
        self.copy = folder / "copy"
        self._original = folder / "original"
        self.dice = random.Random(4)
        self.keys = credentials.checkpoint_vkeys(rig.home)
        stories = [
            Story(number).submit().refused().approve().comment("To the second floor.").approve()
            for number in range(100)
        ]
        self.victim = stories[7]
        people = Chain("user:sam.sales")
        told = [reference("user", "sam.sales", {"version": n, "name": f"Sam {n}"}, people) for n in range(1, 8)]
        told += [record for step in range(5) for story in stories for record in story.records[step : step + 1]]
        with rig.projector(ATHENA_CHECKPOINT_SECONDS="0.5", ATHENA_CHECKPOINT_RECORDS="40") as projector:
            projector.wait_ready()
            rig.send(told)
            self._settle(projector, len(told))
            self.kept_before = self._newest()
            # One more request: the tail that is cut off later, under a checkpoint of its own.
            self.last = Story(1000).submit().approve()
            rig.send(self.last.records)
            self._settle(projector, len(told) + 2)
        assert export(rig.home, str(self._original)) == 0
        for table in TABLES:
            rig.superuser(f"CREATE TABLE public.{table.replace('.', '_')} AS TABLE {table}; SELECT 1")
        self.kept = self._newest()
        self.restore()

    def _settle(self, projector: Any, count: int) -> None:
        self.rig.wait_applied()
        wait_until(
            lambda: projector.metric("athena_checkpoint_size") == count, 30, f"no checkpoints over {count} records"
        )

    def _newest(self) -> list[Checkpoint]:
        async def read() -> list[Checkpoint]:
            source = KafkaSource(self.rig.home.kafka)
            found = []
            try:
                for partition in await source.partitions():
                    last = [r async for batch in source.read(topics.CHECKPOINTS, partition) for r in batch][-1]
                    found.append(opened(CheckpointRecord.model_validate_json(last.value or b"").note, self.keys))
            finally:
                await source.close()
            return found

        return asyncio.run(read())

    def restore(self) -> None:
        """Undo whatever a case did."""
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self._original, self.copy)
        tables = "".join(f"INSERT INTO {table} TABLE public.{table.replace('.', '_')};" for table in TABLES)
        self.sql(f"TRUNCATE {', '.join(TABLES)}; {tables}")

    def sql(self, statement: str) -> None:
        """Run statements as the superuser, with the guards off."""
        self.rig.superuser(f"ALTER TABLE audit.records DISABLE TRIGGER ALL; {statement}; SELECT 1")

    def verify(self, *, copy: bool = False, keys: bool = True, kept: Sequence[Checkpoint] = ()) -> Report:
        """Verify PostgreSQL with the broker, or with the copy."""

        async def run() -> Report:
            source: Source = FolderSource(self.copy) if copy else KafkaSource(self.rig.home.kafka)
            try:
                return await verify_at(self.rig.owner, source, None, Trust(self.keys if keys else (), kept))
            finally:
                await source.close()

        return asyncio.run(run())

    def lines(self, partition: int, topic: str = topics.AUDIT) -> list[dict[str, Any]]:
        """The copy's records of a partition."""
        return [orjson.loads(line) for line in file_of(self.copy, topic, partition).read_bytes().splitlines()]

    def write(self, partition: int, lines: Sequence[dict[str, Any]], topic: str = topics.AUDIT) -> None:
        file_of(self.copy, topic, partition).write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))

    def home_of(self, entity: str) -> tuple[int, list[dict[str, Any]], list[int]]:
        """The partition of a chain, its lines, and which of them are the chain's."""
        for partition in range(4):
            lines = self.lines(partition)
            places = [number for number, line in enumerate(lines) if orjson.loads(line["value"])["entity"] == entity]
            if places:
                return partition, lines, places
        raise AssertionError(entity)


@contextmanager
def bench() -> Iterator[Bench]:
    """A bench on servers of its own."""
    with servers() as rig:
        yield Bench(rig, rig.home.path.parent)


def _delete(seq: int) -> str:
    return f"DELETE FROM audit.records WHERE entity = '{{entity}}' AND seq = {seq}"


def _statement(statement: str, *expects: tuple[str, int | None]) -> Callable[[Bench], Sequence[tuple[str, int | None]]]:
    def tamper(at: Bench) -> Sequence[tuple[str, int | None]]:
        names = {"entity": at.victim.chain.entity, "id": at.victim.id}
        at.sql(statement.format(**names))
        return [(entity.format(**names), seq) for entity, seq in expects]

    return tamper


def _columns() -> Iterator[Case]:
    """Every column of every table that verify claims, one byte changed in one row."""
    # As the migrations have them; `test_every_column_is_tried` holds this against the database.
    kinds = {
        "audit.records": {
            "text": "entity request_id command_id actor_id action level outcome code status_before status_after "
            "correlation_id content commitments prev_hash hash event",
            "integer": "schema_version version partition",
            "bigint": "seq log_offset",
            "ARRAY": "actor_roles",
            "timestamp with time zone": "at",
        },
        "audit.personal": {"text": "salt content"},
        "requests.requests": {
            "text": "status requester_id category_id department_id document",
            "integer": "version partition",
            "bigint": "log_offset",
            "timestamp with time zone": "created_at updated_at",
            "uuid": "id",
        },
        "requests.history": {
            "text": "status actor_id action level comment on_behalf_of",
            "integer": "version",
            "timestamp with time zone": "at",
            "uuid": "request_id",
        },
    }
    for table, columns in kinds.items():
        for kind, names in columns.items():
            for name in names.split():
                where = TABLES[table].replace("seq = 3", "seq = 1") if table == "audit.personal" else TABLES[table]
                statement = f"UPDATE {table} SET {name} = {CHANGE[kind].format(c=name)} WHERE " + where
                # A changed name or number is found at its old place or at its new one.
                expects = [("{entity}", None)] if table != "audit.records" else [("{entity}", 3), ("{entity}", 4)]
                if name in ("entity", "id", "request_id"):
                    expects += [("request:*", None)]
                yield Case(f"one byte of {table}.{name}", "PostgreSQL", _statement(_literal(statement), *expects))


def _literal(statement: str) -> str:
    """Keeps PostgreSQL's braces through `str.format`, but for the names."""
    return statement.replace("'{admin}'", "'{{admin}}'")


_COLUMNS_BUT = (
    "schema_version, request_id, version, command_id, actor_id, actor_roles, action, level, at, outcome, code, status_before, "
    "status_after, correlation_id, content, commitments"
)


def _inserted(entity: str, seq: str, prev: str, hash_: str, partition: str, offset: str) -> str:
    return (
        f"INSERT INTO audit.records (entity, seq, {_COLUMNS_BUT}, prev_hash, hash, event, partition, log_offset) "
        f"SELECT {entity}, {seq}, {_COLUMNS_BUT}, {prev}, {hash_}, event, {partition}, {offset} "
        "FROM audit.records WHERE entity = '{entity}' AND seq = 5"
    )


def _new_chain(at: Bench) -> Sequence[tuple[str, int | None]]:
    """A chain of its own, whole in itself, that no log has."""
    record = Chain("user:zoe").add(at=1_780_000_000_000, request_id=None)
    fields = _inserted(f"'{record['entity']}'", "1", f"'{record['prev_hash']}'", f"'{record['hash']}'", "0", "9999999")
    at.sql(fields.format(entity=at.victim.chain.entity))
    at.sql(
        f"UPDATE audit.records SET request_id = NULL, version = NULL, level = NULL, status_before = NULL, status_after = NULL, "
        f"content = NULL, event = NULL, commitments = '{{}}', actor_roles = '{{}}', actor_id = 'system', action = 'put', "
        f"outcome = 'accepted', code = NULL, at = '{record['at']}', command_id = '{record['command_id']}', "
        f"correlation_id = '{record['correlation_id']}' WHERE entity = 'user:zoe'"
    )
    return [("user:zoe", 1)]


def _everything_of_a_request(at: Bench) -> Sequence[tuple[str, int | None]]:
    at.sql(
        f"DELETE FROM audit.records WHERE entity = '{at.victim.chain.entity}';"
        f"DELETE FROM audit.personal WHERE entity = '{at.victim.chain.entity}';"
        f"DELETE FROM requests.requests WHERE id = '{at.victim.id}';"
        f"DELETE FROM requests.history WHERE request_id = '{at.victim.id}'"
    )
    return [(at.victim.chain.entity, 1)]


def _last_hundred(at: Bench) -> Sequence[tuple[str, int | None]]:
    at.sql(
        "DELETE FROM audit.records WHERE (entity, seq) IN (SELECT entity, seq FROM audit.records ORDER BY at DESC LIMIT 100)"
    )
    return [("request:*", None)]


IN_DATABASE = [
    *_columns(),
    Case("a row removed", "PostgreSQL", _statement(_delete(3), ("{entity}", 4))),
    Case("the first row removed", "PostgreSQL", _statement(_delete(1), ("{entity}", 2))),
    Case("the last row removed", "PostgreSQL", _statement(_delete(5), ("{entity}", 5))),
    Case("the last 100 removed", "PostgreSQL", _last_hundred),
    Case(
        "a whole chain removed",
        "PostgreSQL",
        _statement("DELETE FROM audit.records WHERE entity = '{entity}'", ("{entity}", 1)),
    ),
    Case("a request removed from every table", "PostgreSQL", _everything_of_a_request),
    Case(
        "a row inserted at a chain's end",
        "PostgreSQL",
        _statement(_inserted("entity", "6", "hash", "hash", "partition", "log_offset + 1000000"), ("{entity}", 6)),
    ),
    Case("a chain inserted, whole in itself", "PostgreSQL", _new_chain),
    Case(
        "two rows exchanged",
        "PostgreSQL",
        _statement(
            "UPDATE audit.records SET seq = 7 - seq + 1000 WHERE entity = '{entity}' AND seq IN (3, 4);"
            "UPDATE audit.records SET seq = seq - 1000 WHERE entity = '{entity}' AND seq > 1000",
            ("{entity}", 3),
        ),
    ),
    Case(
        "two rows' places in the log exchanged",
        "PostgreSQL",
        _statement(
            "UPDATE audit.records a SET log_offset = b.log_offset FROM audit.records b WHERE "
            "a.entity = '{entity}' AND b.entity = a.entity "
            "AND a.seq IN (3, 4) AND b.seq = 7 - a.seq",
            ("{entity}", 3),
            ("{entity}", 4),
        ),
    ),
    Case(
        "a request made up",
        "PostgreSQL",
        _statement(
            "INSERT INTO requests.requests SELECT gen_random_uuid(), version, status, requester_id, category_id, "
            "department_id, created_at, "
            "updated_at, document FROM requests.requests WHERE id = '{id}'",
            ("request:*", None),
        ),
    ),
    Case(
        "a history entry added",
        "PostgreSQL",
        _statement(
            "INSERT INTO requests.history SELECT request_id, version + 1, status, at, actor_id, action, level, comment "
            "FROM requests.history "
            "WHERE request_id = '{id}' AND version = 4",
            ("{entity}", None),
        ),
    ),
]


def _byte(at: Bench) -> Sequence[tuple[str, int | None]]:
    """One byte of one record's value, anywhere."""
    partition = at.dice.randrange(4)
    lines = at.lines(partition)
    line = at.dice.choice(lines)
    body, value = orjson.loads(line["value"]), line["value"]
    place = at.dice.randrange(len(value))
    line["value"] = value[:place] + ("x" if value[place] != "x" else "y") + value[place + 1 :]
    at.write(partition, lines)
    return [(body["entity"], body["seq"])]


def _field(name: str) -> Callable[[Bench], Sequence[tuple[str, int | None]]]:
    """One field that the record has, and no hash of the chain covers or one does."""

    def tamper(at: Bench) -> Sequence[tuple[str, int | None]]:
        partition, lines, places = at.home_of(at.victim.chain.entity)
        line = lines[places[2]]
        body = orjson.loads(line["value"])
        if name == "request":
            body["request"]["amount"] = "1.00"
        elif name == "added":
            body["seen"] = True
        else:
            body[name] = {"personal": {"comment": "No."}, "salt": "ab" * 16}.get(name, "x")
        line["value"] = orjson.dumps(body).decode()
        at.write(partition, lines)
        return [(at.victim.chain.entity, 3)]

    return tamper


def _key(at: Bench) -> Sequence[tuple[str, int | None]]:
    partition, lines, places = at.home_of(at.victim.chain.entity)
    lines[places[2]]["key"] = at.last.id
    at.write(partition, lines)
    return [(at.victim.chain.entity, 3)]


def _removed(which: int) -> Callable[[Bench], Sequence[tuple[str, int | None]]]:
    def tamper(at: Bench) -> Sequence[tuple[str, int | None]]:
        partition, lines, places = at.home_of(at.victim.chain.entity)
        body = orjson.loads(lines.pop(places[which])["value"])
        at.write(partition, lines)
        return [(at.victim.chain.entity, body["seq"])]

    return tamper


def _chain_removed(at: Bench) -> Sequence[tuple[str, int | None]]:
    partition, lines, places = at.home_of(at.victim.chain.entity)
    at.write(partition, [line for number, line in enumerate(lines) if number not in places])
    return [(at.victim.chain.entity, 1)]


def _tail_removed(at: Bench) -> Sequence[tuple[str, int | None]]:
    partition = max(range(4), key=lambda number: len(at.lines(number)))
    lines = at.lines(partition)
    first = orjson.loads(lines[-100]["value"])
    at.write(partition, lines[:-100])
    return [(first["entity"], first["seq"])]


def _line_inserted(at: Bench) -> Sequence[tuple[str, int | None]]:
    partition, lines, places = at.home_of(at.victim.chain.entity)
    chain = Chain("user:zoe")
    lines.append(
        {
            **lines[-1],
            "offset": lines[-1]["offset"] + 5,
            "value": orjson.dumps(chain.add(at=1_780_000_000_000)).decode(),
        }
    )
    # At the very end it could be a record that PostgreSQL waits for; a chain of the middle cannot.
    lines[places[2] + 1 : places[2] + 1] = [{**lines.pop(), "offset": lines[places[2]]["offset"]}]
    at.write(partition, lines)
    return [(f"athena.audit/{partition}", None), ("user:zoe", 1)]


def _in_a_gap(at: Bench) -> Sequence[tuple[str, int | None]]:
    """A whole record at an offset of its own, all later ones moved up."""
    partition, lines, places = at.home_of(at.victim.chain.entity)
    number = places[2] + 1
    follows = orjson.loads(lines[number]["value"])
    inserted = {**lines[number], "value": orjson.dumps(Chain("user:zoe").add(at=1_780_000_000_000)).decode()}
    later = [{**line, "offset": line["offset"] + 1} for line in lines[number:]]
    at.write(partition, [*lines[:number], inserted, *later])
    return [(follows["entity"], follows["seq"])]


def _exchanged(at: Bench) -> Sequence[tuple[str, int | None]]:
    partition, lines, places = at.home_of(at.victim.chain.entity)
    one, two = lines[places[1]], lines[places[2]]
    one["value"], two["value"] = two["value"], one["value"]
    at.write(partition, lines)
    return [(at.victim.chain.entity, 2)]


def _false_repeat(at: Bench) -> Sequence[tuple[str, int | None]]:
    """A record again at the end, as after a crash, but with another request in it."""
    partition, lines, places = at.home_of(at.victim.chain.entity)
    body = orjson.loads(lines[places[2]]["value"])
    body["request"]["title"] = "Another"
    lines.append({**lines[places[2]], "offset": lines[-1]["offset"] + 1, "value": orjson.dumps(body).decode()})
    at.write(partition, lines)
    return [(at.victim.chain.entity, 3)]


def _impossible(**fields: Any) -> Callable[[Bench], Sequence[tuple[str, int | None]]]:
    """A record of garbage that PostgreSQL cannot even be asked for."""

    def tamper(at: Bench) -> Sequence[tuple[str, int | None]]:
        partition, lines, places = at.home_of(at.victim.chain.entity)
        body = orjson.loads(lines[places[2]]["value"]) | fields
        lines.append({**lines[-1], "offset": lines[-1]["offset"] + 1, "value": orjson.dumps(body).decode()})
        at.write(partition, lines)
        return [(body["entity"][:200], None), (f"athena.audit/{partition}", None)]

    return tamper


def _checkpoint(change: Callable[[dict[str, Any], Bench], None]) -> Callable[[Bench], Sequence[tuple[str, int | None]]]:
    def tamper(at: Bench) -> Sequence[tuple[str, int | None]]:
        lines = at.lines(0, topics.CHECKPOINTS)
        record = orjson.loads(lines[1]["value"])
        change(record, at)
        lines[1]["value"] = orjson.dumps(record).decode()
        at.write(0, lines, topics.CHECKPOINTS)
        return [("athena.audit/0", None)]

    return tamper


def _checkpoint_removed(at: Bench) -> Sequence[tuple[str, int | None]]:
    lines = at.lines(0, topics.CHECKPOINTS)
    at.write(0, [lines[0], *lines[2:]], topics.CHECKPOINTS)
    return [("athena.audit/0", None)]


IN_COPY = [
    *(Case(f"one byte anywhere, try {number}", "stream", _byte) for number in range(1, 41)),
    *(
        Case(f"the field {name} of a record", "stream", _field(name))
        for name in ("request", "added", "personal", "salt", "hash", "event")
    ),
    Case("the key of a record", "stream", _key),
    Case("a record removed", "stream", _removed(2)),
    Case("a chain's first record removed", "stream", _removed(0)),
    Case("a chain's last record removed", "stream", _removed(-1)),
    Case("a whole chain removed", "stream", _chain_removed),
    Case("the last 100 removed", "stream", _tail_removed),
    Case("a record inserted under another's offset", "stream", _line_inserted),
    Case("a record inserted, later ones moved up", "stream", _in_a_gap),
    Case("two records exchanged", "stream", _exchanged),
    Case("a false repeat at the end", "stream", _false_repeat),
    Case("a record of an entity with a zero byte", "stream", _impossible(entity="user:\0")),
    Case("a record with a number over 63 bits", "stream", _impossible(seq=(1 << 64) - 1)),
    Case("a record with no number", "stream", _impossible(seq=1.5)),
    Case("a record of an entity of 1 MB", "stream", _impossible(entity="u" * 1_000_000)),
    Case("a checkpoint's size", "checkpoints", _checkpoint(lambda record, _: record.update(size=record["size"] + 1))),
    Case(
        "a checkpoint's leaves",
        "checkpoints",
        _checkpoint(lambda record, _: record.update(leaves="A" + record["leaves"][1:])),
    ),
    Case(
        "a checkpoint's note",
        "checkpoints",
        _checkpoint(lambda record, _: record.update(note=record["note"].replace("\n\u2014", "\nx\n\u2014", 1))),
    ),
    Case("a checkpoint removed from between", "checkpoints", _checkpoint_removed),
]


def rewrite_from(at: Bench, seq: int, actor: str) -> None:
    """Another actor in one record, and every hash after it made to fit, in the copy and in PostgreSQL alike."""
    entity = at.victim.chain.entity
    partition, lines, places = at.home_of(entity)
    previous = None
    for number in places:
        body = orjson.loads(lines[number]["value"])
        if body["seq"] < seq:
            continue
        body["actor_id"] = actor if body["seq"] == seq else body["actor_id"]
        body["prev_hash"] = previous or body["prev_hash"]
        body["hash"] = previous = chain_hash(body)
        lines[number]["value"] = orjson.dumps(body).decode()
        at.sql(
            f"UPDATE audit.records SET actor_id = '{body['actor_id']}', prev_hash = '{body['prev_hash']}', hash = '{body['hash']}' "
            f"WHERE entity = '{entity}' AND seq = {body['seq']};"
            f"UPDATE requests.history SET actor_id = '{body['actor_id']}' WHERE request_id = '{at.victim.id}' AND version = "
            f"{body['version'] or 0}"
        )
    at.write(partition, lines)


def sign_again(at: Bench, partition: int) -> None:
    """Sign the copy's records as they are now, with the right key: what somebody who has the key could do."""
    settings = at.rig.home.secret(credentials.CHECKPOINT_KEY).read_text()
    lines = at.lines(partition)
    one = Growth(at.rig.home.installation, partition, load_private_key(settings), None, 0, lines[-1]["offset"] + 1)
    signed = []
    for number, line in enumerate(lines, start=1):
        one.feed(line["offset"], line["value"].encode())
        if number % 50 == 0 or number == len(lines):
            record = one.checkpoint("2026-11-22T09:30:00.000Z").model_dump_json()
            signed.append({"offset": number, "type": "athena.checkpoint", "key": one.origin, "value": record})
            one.published()
    at.write(partition, signed, topics.CHECKPOINTS)


def cut_tail(at: Bench) -> int:
    """The last request gone from the copy, its checkpoints and PostgreSQL alike; the partition it was in."""
    entity = at.last.chain.entity
    partition, lines, places = at.home_of(entity)
    first = lines[places[0]]["offset"]
    at.write(partition, [line for line in lines if line["offset"] < first])
    checkpoints = at.lines(partition, topics.CHECKPOINTS)
    kept = [line for line in checkpoints if orjson.loads(line["value"])["last_offset"] < first]
    at.write(partition, kept, topics.CHECKPOINTS)
    at.sql(
        f"DELETE FROM audit.records WHERE entity = '{entity}'; DELETE FROM audit.personal WHERE entity = '{entity}';"
        f"DELETE FROM requests.requests WHERE id = '{at.last.id}'; DELETE FROM requests.history WHERE request_id = '{at.last.id}'"
    )
    return partition


def named(found: Broken | None, expects: Sequence[tuple[str, int | None]]) -> bool:
    """Whether the break is one of those expected."""
    return found is not None and any(
        (found.entity.startswith(entity[:-1]) if entity.endswith("*") else found.entity == entity)
        and seq in (None, found.seq)
        for entity, seq in expects
    )


def main() -> int:
    """Try everything, print the table; exit code 1 when something was not found or not named."""
    failed = 0
    with bench() as at:
        for case in [*IN_DATABASE, *IN_COPY]:
            expects = case.tamper(at)
            found = at.verify(copy=case.where != "PostgreSQL").first_break
            good = named(found, expects)
            failed += not good
            told = "NOT FOUND" if found is None else f"{found.entity[:24]} seq {found.seq}: {found.why}"
            print(f"{'ok ' if good else 'BAD'} {case.where:11} {case.what:45} {plain(told)}")  # noqa: T201
            at.restore()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
