"""Kills the worker under load, again and again, and looks for what was lost or done twice.

    python -m tests.faults.kill_worker --commands 20000 --kills 3

The driver keeps its own book of what the gateway acknowledged; afterwards the invariants of `quality.md` are read from log
and database. Exit code 0: all hold, and every partition decided again within 15 s of each kill.
"""

# ruff: noqa: T201, ASYNC110 - a program that prints its findings, and watches a counter and a file

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from ops.stack.home import Home
from schemas import topics
from tests import invariants, stack
from tests.client import PASSWORD

#: How long one command may take from its first try to its outcome, kills included, in seconds.
SETTLED_WITHIN = 120.0
#: What the product promises from a kill to the next decision on every partition, in seconds.
RECOVERED_WITHIN = 15.0
REQUESTERS = {"sam.sales": "emea", "sue.sales": "emea", "ana.sales": "apac"}
APPROVERS = ("l1.emea", "l1b.emea", "l1.apac", "l2", "l2b", "l3")
AMOUNTS = ("120.00", "980.00", "2500.00", "30000.00", "99000.00")
CATEGORIES = ("travel", "meals", "hardware", "marketing", "training")


@dataclass
class Report:
    """What came out; `recovery` has one entry per kill: seconds to the first decision on each partition."""

    acknowledged: int = 0
    promised: int = 0
    retried: int = 0
    kills: list[float] = field(default_factory=list)
    recovery: list[dict[int, float | None]] = field(default_factory=list)
    found: invariants.Found = field(default_factory=invariants.Found)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def wrong(self) -> list[str]:
        """Every finding as a sentence."""
        slow = [
            f"kill {number}: partition {partition} decided again after {'no time at all' if s is None else f'{s:.1f} s'}"
            for number, times in enumerate(self.recovery, start=1)
            for partition, s in times.items()
            if s is None or s > RECOVERED_WITHIN
        ]
        return self.found.problems + self.failures + slow


class Driver:
    """People who file requests and decide on them, and remember every answer."""

    def __init__(self, home: Home, commands: int, seed: int) -> None:
        self._base = f"{home.endpoints()['gateway']}/api/v1"
        self._left = commands
        self._dice = random.Random(seed)
        self._tokens: dict[str, str] = {}
        self._tokens_at = 0.0
        self._session: aiohttp.ClientSession | None = None
        self.book: list[invariants.Acknowledged] = []
        self.report = Report()

    async def __aenter__(self) -> Driver:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=40)
        )
        await self._sign_in()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def _sign_in(self) -> None:
        assert self._session is not None
        self._tokens_at = time.monotonic()
        for who in (*REQUESTERS, *APPROVERS):
            body = {"email": f"{who}@athena.test", "password": PASSWORD}
            async with self._session.post(f"{self._base}/auth/login", json=body) as answer:
                assert answer.status == 200, await answer.text()
                self._tokens[who] = (await answer.json())["access_token"]

    async def run(self, lanes: int) -> None:
        """Send the commands, `lanes` people at once."""
        refresher = asyncio.create_task(self._refresh())
        try:
            await asyncio.gather(*(self._lane() for _ in range(lanes)))
        finally:
            refresher.cancel()

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(300)
            await self._sign_in()

    async def _lane(self) -> None:
        while self._left > 0:
            await self._story()

    async def _story(self) -> None:
        """One request from its submission to wherever the dice lead it."""
        who = self._dice.choice(tuple(REQUESTERS))
        category = self._dice.choice(CATEGORIES)
        body = {
            "category_id": category,
            "reason_id": f"{category}-general",
            "title": f"Load {self._left}",
            "description": "x" * self._dice.randrange(10, 400),
            "amount": self._dice.choice(AMOUNTS),
            "currency": self._dice.choice(("EUR", "USD", "GBP")),
        }
        request = await self._command(who, "/requests", body)
        for _ in range(8):
            if request is None or self._left <= 0:
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
        self._left -= 1
        key = str(uuid.uuid4())
        deadline = time.monotonic() + SETTLED_WITHIN
        while time.monotonic() < deadline:
            try:
                status, headers, answer = await self._send("POST", who, path, body, key)
                if status == 202:
                    self.report.promised += 1
                    settled = await self._promised(who, answer["id"], deadline)
                    if settled is not None:
                        return settled[0]
                    continue
                if status < 500:
                    return self._note(status, headers.get("Command-Id", ""), answer)
            except (aiohttp.ClientError, TimeoutError):
                pass
            self.report.retried += 1
            await asyncio.sleep(0.3)
        self.report.failures.append(f"POST {path} had no outcome within {SETTLED_WITHIN:.0f} s")
        return None

    async def _promised(self, who: str, command_id: str, deadline: float) -> tuple[dict[str, Any] | None] | None:
        """What became of a command that was answered 202, in a tuple; None: send it again, for the same answer."""
        if self._dice.random() < 0.5:
            return None
        while time.monotonic() < deadline:
            try:
                status, _, answer = await self._send("GET", who, f"/commands/{command_id}")
            except (aiohttp.ClientError, TimeoutError):
                status, answer = 0, {}
            if status == 200 and answer["status"] == "accepted":
                return (self._note(200, command_id, answer["request"]),)
            if status == 200 and answer["status"] == "refused":
                return (self._note(answer["problem"]["status"], command_id, answer["problem"]),)
            if 400 <= status < 500:
                self.report.failures.append(f"GET /commands/{command_id}, which was promised, answers {status}")
                return None
            await asyncio.sleep(0.3)
        return None

    async def _send(
        self, method: str, who: str, path: str, body: dict[str, Any] | None = None, key: str | None = None
    ) -> tuple[int, Any, Any]:
        assert self._session is not None
        headers = {"Authorization": f"Bearer {self._tokens[who]}"} | ({} if key is None else {"Idempotency-Key": key})
        async with self._session.request(method, self._base + path, json=body, headers=headers) as answer:
            return answer.status, answer.headers, await answer.json(content_type=None)

    def _note(self, status: int, command_id: str, answer: dict[str, Any]) -> dict[str, Any] | None:
        if status not in (200, 201, 404, 409):
            self.report.failures.append(f"unexpected answer {status}: {str(answer)[:300]}")
            return None
        self.report.acknowledged += 1
        if status >= 300:
            self.book.append(invariants.Acknowledged(command_id, status, answer["code"], None, None))
            return None
        told = invariants.Acknowledged(command_id, status, None, answer["id"], answer["version"])
        self.book.append(told)
        return answer


async def kill_under_load(home: Home, commands: int, kills: int, lanes: int = 24, seed: int = 1) -> Report:
    """Drive the stack, kill its worker `kills` times, and check what is left."""
    began = time.monotonic()
    async with Driver(home, commands, seed) as driver:
        killer = asyncio.create_task(_kill(home, driver, commands, kills))
        try:
            await driver.run(lanes)
            await killer
        finally:
            killer.cancel()
    report = driver.report
    report.seconds = time.monotonic() - began
    report.found = await invariants.check(home, driver.book)
    report.recovery = await _recovery(home, report.kills)
    return report


async def _kill(home: Home, driver: Driver, commands: int, kills: int) -> None:
    for number in range(1, kills + 1):
        while driver.report.acknowledged < commands * number / (kills + 1):
            await asyncio.sleep(0.02)
        pid = home.endpoints()["pids"]["worker"]
        driver.report.kills.append(time.time())
        os.kill(pid, signal.SIGKILL)
        print(f"kill {number}: worker {pid} after {driver.report.acknowledged} commands", file=sys.stderr, flush=True)
        while home.endpoints()["pids"]["worker"] == pid:
            await asyncio.sleep(0.05)


async def _recovery(home: Home, kills: list[float]) -> list[dict[int, float | None]]:
    """Seconds from each kill to the first outcome afterwards, by partition; outcomes have the broker's append time."""
    times: dict[int, list[float]] = {}
    for record in await invariants.read(home.kafka, topics.OUTCOMES):
        if record.value and record.value.startswith(b"{"):
            times.setdefault(record.partition, []).append(record.timestamp / 1000)
    found = []
    for killed in kills:
        # What was in flight when the signal came may still have been appended.
        after = {partition: [at for at in ats if at > killed + 0.25] for partition, ats in times.items()}
        found.append({partition: min(ats) - killed if ats else None for partition, ats in sorted(after.items())})
    return found


def show(report: Report) -> None:
    """Print the figures and every finding."""
    found = report.found
    print(
        f"commands acknowledged   {report.acknowledged} in {report.seconds:.0f} s ({report.promised} of them by 202 first)"
    )
    print(f"tries repeated          {report.retried}")
    print(f"lost                    {found.lost}")
    print(f"doubled                 {found.doubled}")
    print(f"requests                {found.requests}")
    broken = sum(1 for text in found.problems if text.startswith("6:"))
    print(
        f"chains whole            {found.chains} chains, {found.records} records"
        if not broken
        else f"chains BROKEN           {broken} findings"
    )
    for number, times in enumerate(report.recovery, start=1):
        shown = ", ".join(f"{partition}: {'never' if s is None else f'{s:.1f} s'}" for partition, s in times.items())
        print(f"kill {number}, next decision   {shown}")
    for text in report.wrong[:50]:
        print(f"WRONG {text}")
    print(f"{len(report.wrong)} findings" if report.wrong else "all invariants hold")


def main() -> int:
    """Exit code 0 all well, 1 something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kill_worker", description=__doc__)
    parser.add_argument("--commands", type=int, default=20000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--lanes", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home", metavar="DIR", default=None, help="a running stack; otherwise one of its own")
    arguments = parser.parse_args()

    def run(home: Home) -> Report:
        return asyncio.run(kill_under_load(home, arguments.commands, arguments.kills, arguments.lanes, arguments.seed))

    if arguments.home is not None:
        report = run(Home(arguments.home))
    else:
        with stack.own(ATHENA_RATE_LIMITS="off") as own:
            report = run(own.home)
    show(report)
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
