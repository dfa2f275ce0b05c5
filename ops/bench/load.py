"""The load: people who file requests and approve them over HTTP, each step once the one before is visible."""

from __future__ import annotations

import asyncio
import random
import ssl
import string
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import aiohttp

from ops.bench.figures import percentile
from ops.bench.rules_file import CATEGORIES

PASSWORD = "athena-demo-2026"  # noqa: S105 - the public demo's
REQUESTER = "sam.sales@athena.test"
APPROVERS = ("l1.emea@athena.test", "l2@athena.test", "l3@athena.test")
CALL_TIME_OUT = 30.0
#: Bytes of a submission's body.
BODY_BYTES = 512
REFRESH_S = 300.0
AFTER = ("pending_l2", "pending_l3", "approved")


@dataclass(slots=True)
class Measured:
    """What one run saw; times in ms, one per command."""

    submit_ms: list[float] = field(default_factory=list)
    approve_ms: list[float] = field(default_factory=list)
    completed: int = 0
    errors: int = 0
    first_error: str | None = None
    seconds: float = 0.0
    newest: list[tuple[str, int]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        both = self.submit_ms + self.approve_ms
        return {
            "completed": self.completed,
            "commands": len(both),
            "errors": self.errors,
            "first_error": self.first_error,
            "wall_s": round(self.seconds, 3),
            "completed_per_s": round(self.completed / self.seconds, 1) if self.seconds else None,
            "p50_ms": percentile(both, 50),
            "p99_ms": percentile(both, 99),
            "submit": {"p50_ms": percentile(self.submit_ms, 50), "p99_ms": percentile(self.submit_ms, 99)},
            "approve": {"p50_ms": percentile(self.approve_ms, 50), "p99_ms": percentile(self.approve_ms, 99)},
        }


class Load:
    """One load generator on one gateway."""

    def __init__(self, gateway: str, trust: ssl.SSLContext | Literal[True] = True) -> None:
        self._base = gateway + "/api/v1"
        self._trust = trust
        self._tokens: dict[str, str] = {}
        self._session: aiohttp.ClientSession | None = None
        self._refresher: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Sign everybody in."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._trust), timeout=aiohttp.ClientTimeout(total=CALL_TIME_OUT)
        )
        await self._sign_in()
        self._refresher = asyncio.create_task(self._refresh())

    async def close(self) -> None:
        """End all connections."""
        if self._refresher is not None:
            self._refresher.cancel()
        if self._session is not None:
            await self._session.close()

    async def _sign_in(self) -> None:
        assert self._session is not None
        for login in (REQUESTER, *APPROVERS):
            body = {"email": login, "password": PASSWORD}
            async with self._session.post(f"{self._base}/auth/login", json=body) as answer:
                answer.raise_for_status()
                self._tokens[login] = (await answer.json())["access_token"]

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            await self._sign_in()

    async def _post(self, login: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return (await self._command(login, path, body))[0]

    async def _command(self, login: str, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The request as answered, and the command's id."""
        assert self._session is not None
        headers = {"Authorization": f"Bearer {self._tokens[login]}", "Idempotency-Key": str(uuid.uuid4())}
        async with self._session.post(self._base + path, json=body, headers=headers) as answer:
            # 202 is an error here: the outcome must be visible.
            if answer.status not in (200, 201):
                raise RuntimeError(f"HTTP {answer.status} to {path}: {(await answer.text())[:200]}")
            found: dict[str, Any] = await answer.json()
            return found, answer.headers["Command-Id"]

    async def visible(self, request_id: str, version: int) -> None:
        """Return once the read side has the request at that version."""
        assert self._session is not None
        headers = {"Authorization": f"Bearer {self._tokens[REQUESTER]}"}
        url = f"{self._base}/requests/{request_id}?min_version={version}"
        deadline = time.monotonic() + CALL_TIME_OUT
        while True:
            async with self._session.get(url, headers=headers) as answer:
                if answer.status == 200:
                    await answer.read()
                    return
                text = await answer.text()
            if answer.status != 503 or time.monotonic() > deadline:
                raise RuntimeError(
                    f"the read side has no version {version} of {request_id}: {answer.status} {text[:200]}"
                )

    async def submit(self, number: int) -> dict[str, Any]:
        """File request `number` of the workload; its answer."""
        return await self._post(REQUESTER, "/requests", submission(number))

    async def whole(self, number: int, due: float, measured: Measured) -> None:
        """Submit, L1, L2, L3; `due` on the clock of `time.perf_counter`."""
        request = await self.submit(number)
        now = time.perf_counter()
        measured.submit_ms.append((now - due) * 1000)
        for login, status in zip(APPROVERS, AFTER, strict=True):
            began = time.perf_counter()
            body = {"expected_version": request["version"]}
            request = await self._post(login, f"/approvals/{request['id']}/approve", body)
            if request["status"] != status:
                raise RuntimeError(f"expected {status} after {login}, found {request['status']}")
            measured.approve_ms.append((time.perf_counter() - began) * 1000)
        measured.newest.append((request["id"], request["version"]))

    async def alone(self, number: int, due: float, measured: Measured) -> None:
        """Submit, and nothing else."""
        request = await self.submit(number)
        measured.submit_ms.append((time.perf_counter() - due) * 1000)
        measured.newest.append((request["id"], request["version"]))

    async def read_side(self, measured: Measured, sample: int) -> None:
        """Return once the read side has the newest `sample` requests, which lie on all partitions."""
        newest = measured.newest[-sample:]
        for request_id, version in newest:
            await self.visible(request_id, version)


Work = Callable[[int, float, Measured], Awaitable[None]]


async def _one(work: Work, number: int, due: float, measured: Measured) -> None:
    try:
        await work(number, due, measured)
        measured.completed += 1
    except (aiohttp.ClientError, RuntimeError, TimeoutError) as error:  # counted, never hidden
        measured.errors += 1
        measured.first_error = measured.first_error or f"{type(error).__name__}: {error}"[:300]


class ReadSide(Protocol):
    """What a loop waits for at its end."""

    async def read_side(self, measured: Measured, sample: int) -> None:
        """Return once the newest `sample` requests can be read."""


async def closed_loop(
    load: ReadSide, work: Work, first: int, count: int, lanes: int, progress: Callable[[int, int], None]
) -> Measured:
    """`lanes` people at once, each with the next request as soon as the last one is done, until the read side has all."""
    measured = Measured()
    numbers = iter(range(first, first + count))
    began = time.perf_counter()

    async def lane() -> None:
        for number in numbers:
            await _one(work, number, time.perf_counter(), measured)
            progress(measured.completed + measured.errors, count)

    await asyncio.gather(*(lane() for _ in range(lanes)))
    await load.read_side(measured, 4 * lanes)
    measured.seconds = time.perf_counter() - began
    return measured


async def open_loop(
    load: ReadSide, work: Work, first: int, rate: float, seconds: float, progress: Callable[[int, int], None]
) -> Measured:
    """`rate` requests a second whatever happens; a command's time counts from when it was due."""
    measured = Measured()
    count = int(rate * seconds)
    began = time.perf_counter()
    tasks = []
    for index in range(count):
        due = began + index / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(_one(work, first + index, due, measured)))
        progress(index + 1, count)
    await asyncio.gather(*tasks)
    await load.read_side(measured, 20)
    measured.seconds = time.perf_counter() - began
    return measured


def submission(number: int) -> dict[str, Any]:
    """The body of request `number`: the same for the same number, about `BODY_BYTES` long, always L1, L2 and L3."""
    dice = random.Random(number)  # noqa: S311 - a workload, no secret
    category = CATEGORIES[number % len(CATEGORIES)]
    body = {
        "category_id": category,
        "reason_id": f"{category}-general",
        "title": f"bench {number:07d}",
        "amount": f"{dice.randrange(2_000_000, 9_000_000) / 100:.2f}",
        "currency": "EUR",
        "description": "",
    }
    room = BODY_BYTES - len(str(body))
    body["description"] = "".join(dice.choices(string.ascii_lowercase + " ", k=room - 1)) + "."
    return body
