"""`athena dead-letters list|show|replay`: records that could not be processed, and sending them again."""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from ops.log_reader import read_all
from ops.stack.errors import StackError
from ops.stack.home import Home
from schemas import topics
from schemas.base import rfc3339
from schemas.outcomes import DeadLetter

SEND_TIME_OUT = 30.0
#: A raw value of this many bytes was cut (`agents.dead_letters.MAX_RAW`).
TRUNCATED = 512 * 1024


def list_(home: Home, as_json: bool) -> int:
    """Print all: id, source, time, error. Exit code 0 there are none, 1 there are some, 3 cannot reach Kafka."""
    return _guarded(_list(home.kafka, as_json)) if _has_home(home) else 3


def show(home: Home, letter_id: str, as_json: bool) -> int:
    """Print one with its bytes, headers and trace. Exit code 0, 1 there is no such letter, 3 cannot reach Kafka."""
    return _guarded(_show(home.kafka, letter_id, as_json)) if _has_home(home) else 3


def replay(home: Home, letter_id: str, as_json: bool) -> int:
    """Send the raw record to its source topic again, same key and headers: its ids are the same, so repeating is safe.

    Exit code 0 sent, 1 there is no such letter, 3 cannot reach Kafka.
    """
    return _guarded(_replay(home.kafka, letter_id, as_json)) if _has_home(home) else 3


async def letters(bootstrap: str) -> AsyncIterator[DeadLetter]:
    """Every dead letter that the topic still holds, each id once.

    Raises:
        StackError: the broker cannot be reached.
    """
    seen: set[str] = set()
    async for record in read_all(bootstrap, topics.DEAD_LETTERS):
        try:
            letter = DeadLetter.model_validate_json(record.value or b"")
        except ValidationError:
            # A fence marker, or none of ours.
            continue
        if letter.id not in seen:
            seen.add(letter.id)
            yield letter


async def send_again(bootstrap: str, letter: DeadLetter) -> tuple[int, int]:
    """Produce the raw record to its source topic, to the partition its key names; answers (partition, offset).

    Raises:
        StackError: the broker did not acknowledge it within 30 s, or the letter holds only a part of the record.
    """
    value = _bytes(letter.value)
    if value is not None and len(value) >= TRUNCATED:
        raise StackError(
            f"Only the first {TRUNCATED} bytes of this record were kept. Read it from its source while it is there: "
            f"{letter.topic}[{letter.partition}]@{letter.offset}"
        )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all")
    try:
        async with asyncio.timeout(SEND_TIME_OUT):
            await producer.start()
            done = await producer.send_and_wait(
                letter.topic,
                key=_bytes(letter.key),
                value=value,
                headers=[(name, base64.b64decode(text)) for name, text in letter.headers],
                # Without a key the record goes where it was.
                partition=letter.partition if letter.key is None else None,
            )
            return done.partition, done.offset
    except (KafkaError, OSError, TimeoutError) as error:
        raise StackError(f"Kafka at {bootstrap} did not take the record: {error!r}") from error
    finally:
        await producer.stop()


async def _list(bootstrap: str, as_json: bool) -> int:
    found = [letter async for letter in letters(bootstrap)]
    if as_json:
        print(json.dumps([_brief(letter) for letter in found]))
    elif not found:
        print("There are no dead letters.")
    for letter in found if not as_json else ():
        brief = _brief(letter)
        error = _printable(letter.error).partition("\n")[0]
        print(f"{letter.id}  {brief['at']}  {letter.topic}[{letter.partition}]@{letter.offset}  {error}")
    return 1 if found else 0


async def _show(bootstrap: str, letter_id: str, as_json: bool) -> int:
    letter = await _find(bootstrap, letter_id)
    if letter is None:
        return 1
    if as_json:
        print(letter.model_dump_json())
        return 0
    for name, value in _brief(letter).items():
        print(f"{name:10} {_printable(str(value))}")
    readable = {name: base64.b64decode(text).decode("utf-8", "backslashreplace") for name, text in letter.headers}
    print(f"{'headers':10} {json.dumps(readable)}")
    for name, data in (("key", _bytes(letter.key)), ("value", _bytes(letter.value))):
        # Never raw: the bytes are somebody else's, and this is a terminal.
        print(f"{name:10} {data!r}")
    print(_printable(letter.trace or "(no trace)"))
    return 0


async def _replay(bootstrap: str, letter_id: str, as_json: bool) -> int:
    letter = await _find(bootstrap, letter_id)
    if letter is None:
        return 1
    partition, offset = await send_again(bootstrap, letter)
    if as_json:
        print(json.dumps({"id": letter.id, "topic": letter.topic, "partition": partition, "offset": offset}))
    else:
        print(f"Sent again to {letter.topic}[{partition}]@{offset}.")
    return 0


async def _find(bootstrap: str, letter_id: str) -> DeadLetter | None:
    async for letter in letters(bootstrap):
        if letter.id == letter_id:
            return letter
    print(f"There is no dead letter {letter_id}. See: athena dead-letters list", file=sys.stderr)
    return None


def _brief(letter: DeadLetter) -> dict[str, object]:
    return {
        "id": letter.id,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "at": rfc3339(letter.timestamp),
        "error": letter.error,
    }


def _printable(text: str) -> str:
    """The text without what would steer a terminal: an error may quote the record."""
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def _has_home(home: Home) -> bool:
    try:
        return bool(home.kafka)
    except StackError as error:
        print(error, file=sys.stderr)
        return False


def _guarded(work: object) -> int:
    try:
        return asyncio.run(work)  # type: ignore[arg-type]
    except StackError as error:
        print(error, file=sys.stderr)
        return 3
