"""Load that keeps its own book: people who file requests and decide on them, and remember every answer."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from ops.stack.home import Home
from tests import invariants
from tests.client import PASSWORD

#: How long one command may take from its first try to its outcome, faults included, in seconds.
SETTLED_WITHIN = 120.0
#: The longest that one call may stay without an answer while the gateway lives: 2 s for a connection to PostgreSQL, 5 s for its
#: answer, 5 s for the log, 10 s for the outcome, and 3 s for a busy machine.
ANSWERED_WITHIN = 25.0
CALL_TIME_OUT = 40.0
TOKEN_AGE = 300.0
REQUESTERS = {"sam.sales": "emea", "sue.sales": "emea", "ana.sales": "apac"}
APPROVERS = ("l1.emea", "l1b.emea", "l1.apac", "l2", "l2b", "l3")
AMOUNTS = ("120.00", "980.00", "2500.00", "30000.00", "99000.00")
CATEGORIES = ("travel", "meals", "hardware", "marketing", "training")
#: Of the commands so many do not wait for their outcome, but take the promise of a 202.
PROMISED_SHARE = 0.1


@dataclass
class Tally:
    """What the load met. `refused_at_door` counts answers 503, `slowest` is the longest time to any answer in seconds."""

    acknowledged: int = 0
    promised: int = 0
    retried: int = 0
    refused_at_door: int = 0
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)


class Load:
    """Sends commands until `stop`, or until `commands` were sent; `rate` is commands per second at most, over all lanes."""

    def __init__(
        self, home: Home, seed: int, *, commands: int | None = None, rate: float | None = None,
        settled_within: float = SETTLED_WITHIN,
    ) -> None:  # fmt: skip
        self._base = f"{home.gateway}/api/v1"
        self._trust = home.trust
        self._left = commands
        self._pause = 0.0 if rate is None else 1.0 / rate
        self._settled_within = settled_within
        self._next_at = 0.0
        self._dice = random.Random(seed)
        self._tokens: dict[str, tuple[float, str]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._stopped = False
        self.book: list[invariants.Acknowledged] = []
        self.tally = Tally()
        #: When commands were settled, by the wall clock; the newest.
        self.settled: deque[float] = deque(maxlen=20_000)

    async def __aenter__(self) -> Load:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._trust), timeout=aiohttp.ClientTimeout(total=CALL_TIME_OUT)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    def stop(self) -> None:
        """Begin no new story; those under way are settled."""
        self._stopped = True

    @property
    def done(self) -> bool:
        return self._stopped or (self._left is not None and self._left <= 0)

    async def run(self, lanes: int) -> None:
        """Send the commands, `lanes` people at once."""
        await asyncio.gather(*(self._lane() for _ in range(lanes)))

    async def _lane(self) -> None:
        while not self.done:
            await self._story()

    async def _turn(self) -> None:
        if self._pause:
            now = time.monotonic()
            self._next_at = max(self._next_at + self._pause, now)
            await asyncio.sleep(self._next_at - now)

    async def _token(self, who: str) -> str:
        at, token = self._tokens.get(who, (0.0, ""))
        if token and time.monotonic() - at < TOKEN_AGE:
            return token
        assert self._session is not None
        body = {"email": f"{who}@athena.test", "password": PASSWORD}
        async with self._session.post(f"{self._base}/auth/login", json=body) as answer:
            found = await answer.json(content_type=None)
            if answer.status != 200:
                if answer.status != 503:
                    self.tally.failures.append(f"POST /auth/login answers {answer.status}: {found}")
                raise aiohttp.ClientPayloadError(f"cannot sign in: {answer.status}")
        self._tokens[who] = (time.monotonic(), found["access_token"])
        return str(found["access_token"])

    async def _story(self) -> None:
        """One request from its submission to wherever the dice lead it."""
        who = self._dice.choice(tuple(REQUESTERS))
        category = self._dice.choice(CATEGORIES)
        body = {
            "category_id": category,
            "reason_id": f"{category}-general",
            "title": f"Load {uuid.UUID(int=self._dice.getrandbits(128))}",
            "description": "x" * self._dice.randrange(10, 400),
            "amount": self._dice.choice(AMOUNTS),
            "currency": self._dice.choice(("EUR", "USD", "GBP")),
        }
        request = await self._command(who, "/requests", body)
        for _ in range(8):
            if request is None or self.done:
                return
            request = await self._step(request)

    async def _step(self, request: dict[str, Any]) -> dict[str, Any] | None:
        throw = self._dice.random()
        id_ = request["id"]
        if request["current_level"] is None:
            if throw < 0.35 and request["status"] in ("approved", "rejected"):
                last = [vote["approver_id"] for level in request["route"]["levels"] for vote in level["votes"]][-1]
                return await self._command(last, f"/approvals/{id_}/rollback", {"comment": "wrong one"})
            return None
        level = next(one for one in request["route"]["levels"] if one["level"] == request["current_level"])
        voted = {vote["approver_id"] for one in request["route"]["levels"] for vote in one["votes"]}
        able = [user for user in level["approvers"] if user not in voted]
        if throw < 0.05:
            return await self._command(request["requester_id"], f"/requests/{id_}/withdraw", {})
        if throw < 0.10:
            await self._command(self._dice.choice(APPROVERS), f"/approvals/{id_}/approve", {"expected_version": 0})
            return request
        if throw < 0.18:
            return await self._command(self._dice.choice(able), f"/approvals/{id_}/reject", {"comment": "no"})
        body = {"expected_version": request["version"], "comment": "yes" * self._dice.randrange(0, 20)}
        return await self._command(self._dice.choice(able), f"/approvals/{id_}/approve", body)

    async def _command(self, who: str, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Send until there is an outcome, and write it down; the request after it, None when it was refused."""
        await self._turn()
        if self._left is not None:
            self._left -= 1
        key = str(uuid.uuid4())
        prefer = "respond-async" if self._dice.random() < PROMISED_SHARE else None
        deadline = time.monotonic() + self._settled_within
        while time.monotonic() < deadline:
            try:
                status, headers, answer = await self._send("POST", who, path, body, key, prefer)
                if status == 202:
                    self.tally.promised += 1
                    settled = await self._promised(who, answer["id"], deadline, prefer is not None)
                    if settled is not None:
                        return settled[0]
                    continue
                if status == 401:
                    self._tokens.pop(who, None)
                elif status < 500:
                    return self._note(status, headers.get("Command-Id", ""), answer)
                elif status == 503:
                    self.tally.refused_at_door += 1
                else:
                    self.tally.failures.append(f"POST {path} answers {status}: {str(answer)[:300]}")
            except (aiohttp.ClientError, OSError):
                pass
            self.tally.retried += 1
            await asyncio.sleep(0.3)
        self.tally.failures.append(f"POST {path} had no outcome within {self._settled_within:.0f} s (key {key})")
        return None

    async def _promised(
        self, who: str, command_id: str, deadline: float, asked_for: bool
    ) -> tuple[dict[str, Any] | None] | None:
        """What became of a command that was answered 202, in a tuple; None: send it again, for the same answer."""
        if not asked_for and self._dice.random() < 0.5:
            return None
        while time.monotonic() < deadline:
            status, answer = 0, {}
            with contextlib.suppress(aiohttp.ClientError, OSError):
                status, _, answer = await self._send("GET", who, f"/commands/{command_id}")
            if status == 200 and answer["status"] == "accepted":
                return (self._note(200, command_id, answer["request"], later=True),)
            if status == 200 and answer["status"] == "refused":
                return (self._note(answer["problem"]["status"], command_id, answer["problem"]),)
            if status == 401:
                self._tokens.pop(who, None)
            elif 400 <= status < 500 or status == 500:
                self.tally.failures.append(f"GET /commands/{command_id}, which was promised, answers {status}")
                return None
            await asyncio.sleep(0.3)
        return None

    async def _send(
        self, method: str, who: str, path: str, body: dict[str, Any] | None = None, key: str | None = None,
        prefer: str | None = None,
    ) -> tuple[int, Any, Any]:  # fmt: skip
        assert self._session is not None
        headers = {"Authorization": f"Bearer {await self._token(who)}"}
        headers |= {} if key is None else {"Idempotency-Key": key}
        headers |= {} if prefer is None else {"Prefer": prefer}
        began = time.monotonic()
        try:
            async with self._session.request(method, self._base + path, json=body, headers=headers) as answer:
                return answer.status, answer.headers, await answer.json(content_type=None)
        finally:
            took = time.monotonic() - began
            self.tally.slowest = max(self.tally.slowest, took)
            if took > ANSWERED_WITHIN:
                self.tally.failures.append(f"{method} {path} took {took:.0f} s to be answered")

    def _note(self, status: int, command_id: str, answer: Any, later: bool = False) -> dict[str, Any] | None:
        """Write an outcome down. `later`: the request is shown as it is by now, its window may have closed meanwhile."""
        if status not in (200, 201, 404, 409):
            self.tally.failures.append(f"unexpected answer {status}: {str(answer)[:300]}")
            return None
        self.tally.acknowledged += 1
        self.settled.append(time.time())
        if status >= 300:
            self.book.append(invariants.Acknowledged(command_id, status, answer["code"], None, None))
            return None
        version = None if later else answer["version"]
        self.book.append(invariants.Acknowledged(command_id, status, None, answer["id"], version))
        return dict(answer)
