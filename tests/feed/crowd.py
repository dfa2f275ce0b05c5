"""Many clients of `/events` on one gateway: memory of each, how late an event is, and one client that does not read.

`python -m tests.feed.crowd [--clients 2000] [--events 200] [--idle-as ana.sales]`, on a stack of its own. With `--idle-as auditor`
every event goes to all of them. Exit code 0: everybody who listens got everything, and the slow one harmed nobody.
"""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tests import gateways
from tests import stack as stacks
from tests.client import API, Api
from tests.stack import wait_until

LISTENERS = 20
#: Makes an event of 5 KiB: a client that does not read has soon enough of them.
LONG = "x" * 4000
OPENING = 50
SLOW = 'athena_gateway_event_clients_ended_total{reason="slow"}'
_HEAD = "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"


@dataclass
class Listener:
    """A client that reads; `seen`: request id -> seconds between its decision and its event, by the clock of this machine."""

    seen: dict[str, float] = field(default_factory=dict)
    twice: int = 0

    async def read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            if line.startswith(b"data: "):
                now = time.time()
                data = json.loads(line[6:])
                if "updated_at" in data and data["version"] == 1:
                    self.twice += data["id"] in self.seen
                    self.seen[data["id"]] = now - datetime.fromisoformat(data["updated_at"]).timestamp()


@dataclass(frozen=True)
class Measured:
    """Memory in bytes, latencies in seconds of all that listened."""

    clients: int
    per_client: float
    alone: list[float]
    beside_slow: list[float]
    growth_beside_slow: int
    cut: int
    complete: bool
    twice: int

    def __str__(self) -> str:
        return (
            f"{self.clients} clients, {self.per_client / 1024:.1f} KiB of the gateway each\n"
            f"events to {LISTENERS} of them: {_figures(self.alone)}\n"
            f"the same beside one that does not read: {_figures(self.beside_slow)}; "
            f"memory {self.growth_beside_slow / 2**20:+.1f} MiB, slow clients cut off: {self.cut}\n"
            f"everything came: {self.complete}, twice: {self.twice}"
        )


def _figures(latencies: list[float]) -> str:
    found = sorted(latencies)
    at = [found[min(len(found) - 1, int(len(found) * share))] * 1000 for share in (0.5, 0.95, 0.99)]
    return f"p50 {at[0]:.0f} ms, p95 {at[1]:.0f} ms, p99 {at[2]:.0f} ms, longest {found[-1] * 1000:.0f} ms"


def measure(gateway: gateways.Gateway, api: Api, clients: int, events: int, idle_as: str) -> Measured:
    """Fill the gateway with clients, make events, look at the clock and at the memory."""
    return asyncio.run(_measure(gateway, api, clients, events, idle_as))


async def _measure(gateway: gateways.Gateway, api: Api, clients: int, events: int, idle_as: str) -> Measured:
    tokens = {who: await asyncio.to_thread(api.token, who) for who in ("sam.sales", idle_as, "admin")}
    listeners = [Listener() for _ in range(LISTENERS)]
    # What the first of all calls makes is no client's.
    await asyncio.to_thread(_file, api, 20, "warm")
    tasks = []
    writers: list[asyncio.StreamWriter] = []
    before = memory(gateway)
    for start in range(0, clients, OPENING):
        whose = ["sam.sales" if n < LISTENERS else idle_as for n in range(start, min(start + OPENING, clients))]
        opened = await asyncio.gather(*(_open(gateway.port, tokens[who]) for who in whose))
        for number, (reader, writer) in enumerate(opened, start):
            writers.append(writer)
            taker = listeners[number].read(reader) if number < LISTENERS else _drain(reader)
            tasks.append(asyncio.create_task(taker))
    await asyncio.sleep(3)
    full = memory(gateway)
    try:
        alone = await _events(api, listeners, events, "short")
        with _unread(gateway.port, tokens["admin"]):
            cut, at = gateway.figure(SLOW), memory(gateway)
            beside = await _events(api, listeners, events, LONG)
            growth = memory(gateway) - at
            await asyncio.to_thread(
                wait_until, lambda: gateway.figure(SLOW) > cut or events < 200, 20, "the slow client was not cut off"
            )
            cut = gateway.figure(SLOW) - cut
    finally:
        for writer in writers:
            writer.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    complete = len(alone) == len(beside) == events * LISTENERS
    return Measured(
        clients,
        (full - before) / clients,
        alone,
        beside,
        growth,
        int(cut),
        complete,
        sum(one.twice for one in listeners),
    )


async def _open(port: int, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_HEAD.format(path=f"{API}/events", token=token).encode())
    status = await reader.readline()
    assert b" 200 " in status, status + await reader.read(2000)
    return reader, writer


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def _events(api: Api, listeners: list[Listener], count: int, description: str) -> list[float]:
    """So many requests are filed; latencies of all events of them."""
    ids = await asyncio.to_thread(_file, api, count, description)
    deadline = time.monotonic() + 60
    while not all(ids <= one.seen.keys() for one in listeners) and time.monotonic() < deadline:  # noqa: ASYNC110 - a look at many
        await asyncio.sleep(0.05)
    return [one.seen[id_] for one in listeners for id_ in ids if id_ in one.seen]


def _file(api: Api, count: int, description: str) -> set[str]:
    """At about 30 a second: what is measured is not a queue."""

    def one(number: int) -> str:
        time.sleep(max(0.0, began + number / 30 - time.monotonic()))
        return str(api.submit("sam.sales", description=description)["id"])

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        return set(pool.map(one, range(count)))


@contextmanager
def _unread(port: int, token: str) -> Iterator[None]:
    """A client that sees everything, and reads nothing."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", port))
        line.sendall(_HEAD.format(path=f"{API}/events", token=token).encode())
        yield


def memory(gateway: gateways.Gateway) -> int:
    """Resident bytes of the gateway."""
    text = Path(f"/proc/{gateway.process.pid}/status").read_text(encoding="ascii")
    return int(text.partition("VmRSS:")[2].split()[0]) * 1024


@contextmanager
def roomy(stack: stacks.Stack) -> Iterator[gateways.Gateway]:
    """A gateway that lets so many come from one address and of one user."""
    with gateways.started(
        stack,
        ATHENA_RATE_LIMITS="off",
        ATHENA_CONNECTIONS_PER_ADDRESS="20000",
        ATHENA_EVENT_CLIENTS_PER_USER="20000",
        ATHENA_EVENT_CLIENTS="20000",
    ) as gateway:
        yield gateway


def main() -> int:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--idle-as", default="ana.sales")
    asked = parser.parse_args()
    with stacks.own(ATHENA_RATE_LIMITS="off") as own, roomy(own) as gateway:
        found = measure(gateway, Api(gateway.base), asked.clients, asked.events, asked.idle_as)
    print(found)
    harmed = statistics.median(found.beside_slow) > 2 * statistics.median(found.alone) + 0.1
    return 1 if not found.complete or found.twice or harmed or not found.cut else 0


if __name__ == "__main__":
    sys.exit(main())
