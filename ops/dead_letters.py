"""`athena dead-letters list|show|replay`: records that could not be processed, and sending them again."""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Coroutine
from typing import Any

from ops.letters import Resender, Selection, Unsendable, letters, raw
from ops.stack.errors import StackError
from ops.stack.home import Home
from schemas.base import rfc3339
from schemas.outcomes import DeadLetter


def list_(home: Home, selection: Selection, as_json: bool) -> int:
    """Print those selected: id, time, source, error. Exit code 0 there are none, 1 there are some, 3 cannot reach Kafka."""
    return _guarded(_list(home, selection, as_json))


def show(home: Home, place: str, as_json: bool) -> int:
    """Print one with its bytes, headers and trace. Exit code 0, 1 there is no such letter, 3 cannot reach Kafka."""
    return _guarded(_show(home, place, as_json))


def replay(home: Home, selection: Selection, dry_run: bool, as_json: bool) -> int:
    """Send the raw records to their source topic and partition again, same key, value and headers.

    Their ids are the same, so repeating is safe: what was decided meanwhile gives its first outcome once more. Records that are
    the same byte for byte (a replay that failed again leaves one more letter) are sent once. Exit code 0 all sent, 1 a place
    has no letter or a record could not be sent, 3 cannot reach Kafka.
    """
    return _guarded(_replay(home, selection, dry_run, as_json))


async def _list(home: Home, selection: Selection, as_json: bool) -> int:
    count = 0
    async for letter in letters(home.kafka, selection):
        count += 1
        brief = _brief(letter)
        if as_json:
            print(("[" if count == 1 else ",\n ") + json.dumps(brief), end="")
        else:
            error = _printable(letter.error).partition("\n")[0]
            cut = "  (cut)" if letter.cut else ""
            print(f"{letter.id}  {brief['at']}  {_place(letter)}  {error}{cut}")
    if as_json:
        print("]" if count else "[]")
    elif not count:
        print("There are no dead letters." if selection == Selection() else "No dead letter is selected.")
    return 1 if count else 0


async def _show(home: Home, place: str, as_json: bool) -> int:
    selection = Selection(places=(place,))
    async for letter in letters(home.kafka, selection):
        if as_json:
            print(letter.model_dump_json())
        else:
            _print(letter)
        return 0
    return _missing(selection)


def _print(letter: DeadLetter) -> None:
    for name, value in _brief(letter).items():
        print(f"{name:10} {_printable(str(value))}")
    readable = [[name, base64.b64decode(text).decode("utf-8", "backslashreplace")] for name, text in letter.headers]
    print(f"{'headers':10} {json.dumps(readable)}")
    for name, data in (("key", raw(letter.key)), ("value", raw(letter.value))):
        # Never raw: the bytes are somebody else's, and this is a terminal.
        print(f"{name:10} {data!r}")
    if letter.cut:
        print(f"{'':10} This is a part. The whole record is at {_place(letter)}, for as long as that topic keeps it.")
    print(_printable(letter.trace or "(no trace)"))


async def _replay(home: Home, selection: Selection, dry_run: bool, as_json: bool) -> int:
    sent, failed = 0, 0
    done: set[bytes] = set()
    async with Resender(home.kafka) as resender:
        async for letter in letters(home.kafka, selection):
            try:
                record = await resender.record(letter)
                if record.digest in done:
                    continue
                done.add(record.digest)
                where = None if dry_run else await resender.send(record)
            except Unsendable as error:
                failed += 1
                print(f"{letter.id}: {error}", file=sys.stderr)
                continue
            sent += 1
            if as_json:
                offset = None if where is None else where[1]
                print(json.dumps(_brief(letter) | {"sent": not dry_run, "sent_offset": offset}))
            elif where is None:
                print(f"{letter.id}  {_place(letter)} would be sent again")
            else:
                print(f"{letter.id}  {_place(letter)} was sent again to {letter.topic}[{where[0]}]@{where[1]}")
    missing = _missing(selection)
    if not as_json:
        print(f"{sent} {'would be sent' if dry_run else 'sent'}, {failed} cannot be sent.", file=sys.stderr)
    return 1 if missing or failed else 0


def _missing(selection: Selection) -> int:
    """Name the places that no letter was found for. 1 if there are such, else 0."""
    missing = selection.missing()
    for place in missing:
        print(f"There is no dead letter {place}. See: athena dead-letters list", file=sys.stderr)
    return 1 if missing else 0


def _place(letter: DeadLetter) -> str:
    return f"{letter.topic}[{letter.partition}]@{letter.offset}"


def _brief(letter: DeadLetter) -> dict[str, object]:
    return {
        "id": letter.id,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "at": rfc3339(letter.timestamp),
        "error": letter.error,
        "cut": letter.cut,
    }


def _printable(text: str) -> str:
    """The text without what would steer a terminal: an error may quote the record."""
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


def _guarded(work: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(work)
    except StackError as error:
        print(error, file=sys.stderr)
        return 3
