"""What `athena audit …` runs. Exit codes: 0 ok, 1 found something wrong, 2 wrong use, 3 cannot reach what it needs."""

# ruff: noqa: T201 - commands print

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
from pydantic import ValidationError

from ops.audit import proof
from ops.audit.found import Broken, Report, place, plain
from ops.audit.prove import find, newest_of
from ops.audit.source import FolderSource, KafkaSource, Source, file_of, fix_ends, line_of
from ops.audit.verify import Trust, verify_at
from ops.cli.options import MISUSE, OK, UNREACHABLE, WRONG
from ops.stack.errors import StackError
from ops.stack.home import Home
from schemas import topics
from schemas.checkpoints import Checkpoint, installation_of, notes_in, opened, partition_of
from schemas.notes import NoteError, VerifierKey

SAY_EVERY = 2.0
#: Largest file of keys or of kept checkpoints, in bytes.
MAX_TEXT = 16 * 1024 * 1024


class Misuse(Exception):
    """The command cannot be carried out as it was written."""


class Progress:
    """One line on stderr every 2 s."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._said = time.monotonic()

    def __call__(self, what: str, records: int) -> None:
        self._counts[what] = self._counts.get(what, 0) + records
        if time.monotonic() - self._said > SAY_EVERY:
            self._said = time.monotonic()
            print(f"{what}: {self._counts[what]} records" if records else what, file=sys.stderr, flush=True)


def verify(home: Home, request: str | None, log: str | None, kept: str | None, key: str | None, as_json: bool) -> int:
    """Verify all, or one request; `log` names a folder that is read instead of the broker, `kept` a file of old checkpoints."""

    async def run() -> Report:
        request_id = None if request is None else _uuid(request)
        if request_id is not None and (kept is not None or log is not None):
            raise Misuse("--checkpoint and --log are for the whole log: leave --request away")
        keys = _of_one_installation(_keys(home, key))
        source: Source = KafkaSource(home.kafka) if log is None else FolderSource(Path(log))
        try:
            trust = Trust(keys, [] if kept is None else _kept(Path(kept), keys))
            return await verify_at(home.database_url("owner"), source, request_id, trust, Progress())
        finally:
            await source.close()

    def done(report: Report) -> int:
        found = report.first_break
        if found is None and request is not None and report.records == 0:
            found = report.first_break = Broken(f"request:{request}", 0, "there is no record of this request")
        if as_json:
            print(json.dumps(report.as_json() | report.counts()))
        elif found is None:
            _say_whole(report, request is not None)
        else:
            print(f"BROKEN at {plain(found)}")
        return OK if found is None else WRONG

    return _run(run, done)


def _say_whole(report: Report, one: bool) -> None:
    print(f"All {report.chains} chains with {report.records} records are whole, in PostgreSQL and in the log alike.")
    if not one:
        print(f"{report.checkpoints} checkpoints hold; {report.uncovered} records are under none of those published.")
        print(f"In the log again after a crash: {report.repeats}.")
    if report.waiting:
        print(f"{report.waiting} records are in the log and not yet in PostgreSQL.")
    if report.erased:
        print(f"{report.erased} records have no personal parts in PostgreSQL any more; what they were is committed to.")
    if not report.derived:
        print("The read side is behind or being rebuilt: requests and their history were not compared.")


def export(home: Home, folder: str) -> int:
    """Copy the audit stream and its checkpoints into a new folder."""

    async def run() -> int:
        place = _new_folder(folder)
        source, progress, count = KafkaSource(home.kafka), Progress(), 0
        try:
            partitions = await source.partitions()
            await fix_ends(source, topics.CHECKPOINTS, partitions)
            await fix_ends(source, topics.AUDIT, partitions)
            for partition in partitions:
                for topic in (topics.AUDIT, topics.CHECKPOINTS):
                    with file_of(place, topic, partition).open("wb") as out:
                        async for batch in source.read(topic, partition):
                            out.writelines(line_of(record) + b"\n" for record in batch)
                            count += len(batch)
                            progress(topic, len(batch))
        finally:
            await source.close()
        return count

    return _run(run, lambda count: _ok(f"{count} records of the audit stream and its checkpoints are in {folder}."))


def key(home: Home) -> int:
    """Print the verifier keys, one a line."""

    async def run() -> str:
        return "".join(f"{one}\n" for one in _keys(home, None))

    return _run(run, lambda text: _ok(text.rstrip("\n")))


def checkpoints(home: Home) -> int:
    """Print the newest checkpoint of each partition: signed notes, one after the other."""

    async def run() -> str:
        keys, source, notes = _keys(home, None), KafkaSource(home.kafka), []
        try:
            for partition in await source.partitions():
                one = await newest_of(source, partition)
                if one is None:
                    print(f"{place(partition)} has no checkpoint.", file=sys.stderr)
                    continue
                if partition_of(opened(one.note, keys).origin) != partition:
                    raise Broken(
                        place(partition), one.size, "the newest checkpoint published for it is of another partition"
                    )
                notes.append(one.note)
        finally:
            await source.close()
        return "\n".join(notes)

    return _run(run, lambda text: _ok(text.rstrip("\n")))


def prove(home: Home, request: str, out: str | None, wait: float, personal: bool) -> int:
    """Write one request's proof file; exit code 1 when its newest records are under no checkpoint yet."""

    async def run() -> tuple[bytes, str, int]:
        request_id = _uuid(request)
        keys, kafka = _keys(home, None), home.kafka
        found = await find(lambda: KafkaSource(kafka), request_id, keys, wait, Progress())
        data = proof.build(f"request:{request_id}", found.note, found.records, personal=personal)
        try:
            proof.check(data, keys)
        except (proof.Refuted, proof.NoProof) as error:
            why = f"the log's records of it prove nothing: {error}. Run: athena audit verify"
            raise Broken(f"request:{request_id}", 0, why) from error
        return data, f"{len(found.records)} records, under the checkpoint of {found.checkpoint.size}", found.uncovered

    def done(result: tuple[bytes, str, int]) -> int:
        data, text, uncovered = result
        path = Path(out or f"audit-{_uuid(request)}.json")
        try:
            path.write_bytes(data)
        except OSError as error:
            print(f"{path} cannot be written: {error.strerror}", file=sys.stderr)
            return MISUSE
        print(f"{path}: {text}. Check it anywhere: athena audit check {path} --key KEY")
        if uncovered:
            print(
                f"{uncovered} newer records are under no checkpoint yet, and not in it. Try again later.",
                file=sys.stderr,
            )
        return WRONG if uncovered else OK

    return _run(run, done)


def check(file: str, key: str, as_json: bool) -> int:
    """Check a proof file offline."""
    try:
        with Path(file).open("rb") as lines:
            # One byte more than is allowed: that it is too large is then said with the rest.
            data = lines.read(proof.MAX_FILE + 1)
    except OSError as error:
        print(f"{file} cannot be read: {error.strerror}", file=sys.stderr)
        return MISUSE

    async def run() -> proof.Proved:
        keys = _read_keys(key)
        try:
            return proof.check(data, keys)
        except proof.NoProof as error:
            raise Misuse(f"{file}: {error}") from error

    def done(found: proof.Proved) -> int:
        if as_json:
            seen = {"origin": found.checkpoint.origin, "size": found.checkpoint.size, "entity": found.entity}
            print(json.dumps({"ok": True, **seen, "records": found.records, "versions": found.versions, "why": None}))
            return OK
        versions = f"versions 1 to {found.versions} without gap" if found.versions else "no version"
        print(plain(f"PROVED: {found.entity} has the records 1 to {found.records}, {versions}."))
        print(
            f"  They are among the {found.checkpoint.size} records of {found.checkpoint.origin} that the checkpoint signs."
        )
        print(f"  {found.personal} personal texts are those committed to; {found.hidden} are not shown.")
        print(
            "NOT PROVED: that nothing came after the last record shown, that the log has no second record under one of these "
            "numbers (athena audit verify reads it all), and that no other log was signed with this key."
        )
        return OK

    try:
        return _run(run, done)
    except proof.Refuted as error:
        print(json.dumps({"ok": False, "why": str(error)}) if as_json else plain(f"NOT PROVED: {error}"))
        return WRONG


def _run(work: Callable[[], Coroutine[Any, Any, Any]], done: Callable[[Any], int]) -> int:
    try:
        return done(asyncio.run(work()))
    except Misuse as error:
        print(plain(error), file=sys.stderr)
        return MISUSE
    except Broken as error:
        print(f"BROKEN at {plain(error)}")
        return WRONG
    except NoteError as error:
        print(plain(f"BROKEN: a checkpoint does not hold: {error}"))
        return WRONG
    except StackError as error:
        print(f"This cannot be done now: {plain(error)}", file=sys.stderr)
        return UNREACHABLE
    except ValidationError as error:
        print(f"BROKEN: what lies in {topics.CHECKPOINTS} is no checkpoint: {plain(error, 300)}")
        return WRONG
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            print(plain(f"{error.filename}: {error.strerror}"), file=sys.stderr)
            return MISUSE
        print(
            f"This cannot be done now: PostgreSQL did not answer: {plain(repr(error))}. Is the stack up? See: athena status",
            file=sys.stderr,
        )
        return UNREACHABLE


def _new_folder(name: str) -> Path:
    place = Path(name)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise Misuse(f"{place} is not empty: name a new folder")
    place.mkdir(parents=True, exist_ok=True)
    return place


def _ok(text: str) -> int:
    print(text)
    return OK


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Misuse(f"{text!r} is no request id: write a UUID") from None


def _keys(home: Home, key: str | None) -> list[VerifierKey]:
    """The keys that were named, else those of the home."""
    if key is not None:
        return _read_keys(key)
    if not home.vkeys_file.exists():
        raise StackError(f"The home {home.path} has no verifier keys. Start it: athena up --home {home.path}")
    return _read_keys(str(home.vkeys_file))


def _read_keys(key: str) -> list[VerifierKey]:
    """A verifier key, or those in a file, one a line."""
    try:
        return [VerifierKey.parse(key)]
    except NoteError:
        pass
    try:
        lines = _text_of(Path(key)).splitlines()
        found = [VerifierKey.parse(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise Misuse(
            f"{key[:80]!r} is neither a verifier key nor a file of them: {error}. Print them: athena audit key"
        ) from error
    if not found:
        raise Misuse(f"{key} holds no verifier key")
    return found


def _of_one_installation(keys: list[VerifierKey]) -> list[VerifierKey]:
    """The keys, if one log can be meant by them all: another installation's signed log must not pass for this one's."""
    names = sorted({name for key in keys if (name := installation_of(key.name)) is not None})
    if len(names) > 1:
        raise Misuse(f"The keys are those of several logs: {', '.join(names)}. Give those of the one to be verified")
    return keys


def _text_of(path: Path) -> str:
    """A text file. Raises OSError, ValueError (no UTF-8, or too large)."""
    with path.open("rb") as lines:
        data = lines.read(MAX_TEXT + 1)
    if len(data) > MAX_TEXT:
        raise ValueError(f"it has over {MAX_TEXT} bytes")
    return data.decode("utf-8-sig").replace("\r\n", "\n")


def _kept(path: Path, keys: list[VerifierKey]) -> list[Checkpoint]:
    """The checkpoints in a file that somebody kept."""
    try:
        found = [opened(note, keys) for note in notes_in(_text_of(path))]
    except (OSError, ValueError) as error:
        raise Misuse(f"{path}: no checkpoint that these keys signed: {error}") from error
    if not found:
        raise Misuse(f"{path} holds no checkpoint")
    return found
