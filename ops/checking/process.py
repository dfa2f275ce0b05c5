"""Asks the program that checks, compares and simulates rules files: one process a question, bounded in time and memory.

Whoever asks has an event loop that must not stand still, and reads none of the file itself: whatever a file does to its
reader, it does to a process that is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from schemas.catalog import Catalog

#: Bytes of address space, and of an answer.
MEMORY = 1024 * 1024 * 1024
LONGEST_ANSWER = 16 * 1024 * 1024
#: What the program ends with when a question takes more memory than `MEMORY`.
OUT_OF_MEMORY = 75
#: Nothing of ours but what Python needs to find its packages: the program gets no secret.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")
_COMMAND = (sys.executable, "-m", "ops.checking.program")

Write = Callable[[bytes], Awaitable[None]]
#: Writes what follows the question, piece by piece.
Feed = Callable[[Write], Awaitable[None]]


class _AnsweredError(Exception):
    """The program reads no more: it has answered, or is gone."""


class TooMuchError(Exception):
    """The question took more time or memory than it may."""


class DiedError(Exception):
    """The program was ended, or ended itself, before it had answered: that says nothing of the question."""


async def ask(question: dict[str, Any], catalog: Catalog | None, seconds: float, feed: Feed | None = None) -> Any:
    """The program's answer. `catalog`: what the file is checked against.

    Raises:
        TooMuchError: no answer within `seconds` and `MEMORY`.
        DiedError: no answer, for another reason; asking again may help.
        OSError: the program cannot be started. And whatever `feed` raises.
    """
    # The lists are copied here, where nothing changes them; turning them into bytes takes a while for large organisations.
    organisation = None if catalog is None else _organisation(catalog)
    head = await asyncio.to_thread(_head, question | {"seconds": seconds, "memory": MEMORY}, organisation)
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # a trace may show the file
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            answer = await _exchange(process, head, feed)
            code = await process.wait()
    except TimeoutError:
        raise TooMuchError(f"no answer within {seconds:.0f} s") from None
    finally:
        if process.returncode is None:
            # All of its session: whatever it started would hold its pipes open, and `wait` waits for those.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await _to_the_end(process)
    if code in (OUT_OF_MEMORY, -signal.SIGXCPU):
        raise TooMuchError(f"the program ended with {code}")
    if code != 0 or not answer:
        raise DiedError(f"the program ended with {code}")
    return await asyncio.to_thread(orjson.loads, answer)


async def _to_the_end(process: asyncio.subprocess.Process) -> None:
    """Wait for a killed process. What it said last is read and thrown away: a full reader reads no further, never sees the end of
    the pipe, and `wait` would wait for that for ever (seen once in 57 times)."""
    assert process.stdout is not None
    while await process.stdout.read(1024 * 1024):
        pass
    await process.wait()


async def _exchange(process: asyncio.subprocess.Process, head: bytes, feed: Feed | None) -> bytes:
    assert process.stdin is not None and process.stdout is not None
    stdin = process.stdin

    async def write(data: bytes) -> None:
        if stdin.is_closing():  # uvloop raises RuntimeError for a write to it
            raise _AnsweredError
        try:
            stdin.write(data)
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise _AnsweredError from None

    # It may answer before it has read all, when the file is none, say. What breaks at the feed's own source is raised: an answer
    # about a part of it would look like one about all.
    with contextlib.suppress(_AnsweredError):
        await write(head)
        if feed is not None:
            await feed(write)
        stdin.close()
    answer = bytearray()
    while piece := await process.stdout.read(1024 * 1024):
        answer += piece
        if len(answer) > LONGEST_ANSWER:
            raise TooMuchError("the answer is too long")
    return bytes(answer)


def _head(question: dict[str, Any], organisation: list[tuple[str, list[Any]]] | None) -> bytes:
    entities = None
    if organisation is not None:
        entities = [_plain(kind, entity) for kind, found in organisation for entity in found]
    return orjson.dumps(question | {"entities": entities}) + b"\n"


def _organisation(catalog: Catalog) -> list[tuple[str, list[Any]]]:
    return [
        ("category", list(catalog.categories.values())),
        ("department", list(catalog.departments.values())),
        ("assignment", list(catalog.assignments.values())),
        ("user", list(catalog.users.values())),
    ]


def _plain(kind: str, entity: Any) -> dict[str, Any]:
    """An entity with what the check looks at: no name, no address of a person."""
    found = {"kind": kind, "id": entity.id, "version": entity.version}
    match kind:
        case "user":
            return found | {
                "email": "", "name": "", "roles": entity.roles, "department_id": entity.department_id,
                "active": entity.active,
            }  # fmt: skip
        case "category":
            return found | {"name": "", "active": entity.active}
        case "department":
            return found | {"name": "", "region": entity.region}
    return found | {
        name: getattr(entity, name) for name in ("category_id", "level", "approver_id", "department_id", "region")
    }
