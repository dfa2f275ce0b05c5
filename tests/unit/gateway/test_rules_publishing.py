"""Large rules files go to the worker few at a time, and none with errors: changes of people and places wait for each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import rules_publishing
from gateway.http.answers import NO_CONTENT, Answer
from gateway.http.problems import Problem
from gateway.rules_publishing import MOST, RulesPublishing
from gateway.streams.outcomes import Heard, Waiter
from schemas.catalog import Catalog
from schemas.reference import SMALL_RULES, Rules

LARGE = "#" * (SMALL_RULES + 1)
ERROR = {"severity": "error", "code": "bad-value", "message": "none"}
PENDING = Answer(b"", 202)


class Rig:
    """The desk, the outcomes and the log, as plain objects."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.waiters: dict[str, Waiter] = {}
        self.checked: list[str] = []
        self.sent: list[str] = []
        self.go_on = asyncio.Event()
        self.answer = NO_CONTENT
        self.publishing = RulesPublishing(self.catalog, self, self)

    async def check(self, yaml: str) -> list[dict[str, Any]]:
        self.checked.append(yaml)
        return [ERROR] if "wrong" in yaml else [ERROR | {"severity": "warning"}]

    def expect(self, command_id: str) -> Waiter:
        return self.waiters.setdefault(command_id, Waiter())

    def forget(self, command_id: str, waiter: Waiter) -> None:
        assert self.waiters.pop(command_id) is waiter

    async def publish(self, admin: str, yaml: str = LARGE, name: str = "one") -> Answer:
        async def send() -> Answer:
            self.sent.append(name)
            await self.go_on.wait()
            return self.answer

        return await self.publishing.publish(admin, name, yaml, send)


async def refused(rig: Rig, admin: str, yaml: str = LARGE) -> Problem:
    with pytest.raises(Problem) as found:
        await rig.publish(admin, yaml, "refused")
    return found.value


def test_a_large_file_with_errors_is_answered_here_and_sent_nowhere() -> None:
    """Otherwise each of an admin's wrong files would keep everybody's changes of reference data waiting for seconds."""

    async def run() -> None:
        rig = Rig()
        problem = await refused(rig, "ada", LARGE + "wrong")
        assert (problem.status, problem.code, problem.findings) == (422, "rules-invalid", [ERROR])
        assert rig.sent == [] and rig.waiters == {}
        rig.go_on.set()
        assert await rig.publish("ada") is NO_CONTENT, "warnings do not keep it"

    asyncio.run(run())


def test_a_small_file_and_one_that_was_published_before_go_at_once() -> None:
    """Otherwise a repeat of what was accepted could be answered with errors that the organisation got since."""

    async def run() -> None:
        rig = Rig()
        rig.go_on.set()
        text = LARGE + "wrong"
        rig.catalog.put(Rules(id="1", version=1, author_id="a", at=0, comment=None, yaml=text))
        for yaml in (text, "wrong"):
            assert await rig.publish("ada", yaml) is NO_CONTENT
        assert rig.checked == [] and len(rig.sent) == 2

    asyncio.run(run())


def test_an_admin_has_one_large_file_under_way_and_all_together_a_few() -> None:
    """Otherwise one upload in a loop would stop everybody's changes of reference data for as long as it runs."""

    async def run() -> None:
        rig = Rig()
        tasks = [asyncio.create_task(rig.publish(f"admin-{n}", name=f"file-{n}")) for n in range(MOST)]
        await asyncio.sleep(0.01)
        assert len(rig.sent) == MOST
        for admin in ("admin-0", "another"):
            problem = await refused(rig, admin)
            assert (problem.status, dict(problem.headers)[b"retry-after"]) == (503, b"5")
        rig.go_on.set()
        await asyncio.gather(*tasks)
        assert await rig.publish("admin-0") is NO_CONTENT and rig.waiters == {}

    asyncio.run(run())


@pytest.mark.parametrize("how", ["202", "hung up"])
@pytest.mark.parametrize("decided", [True, False])
def test_who_does_not_wait_for_the_answer_has_the_file_under_way_all_the_same(
    monkeypatch: pytest.MonkeyPatch, how: str, decided: bool
) -> None:
    """Otherwise `Prefer: respond-async`, or hanging up, would be the way around."""
    monkeypatch.setattr(rules_publishing, "UNDECIDED_SECONDS", 60.0 if decided else 0.05)

    async def run() -> None:
        rig = Rig()
        if how == "202":
            rig.answer = PENDING
            rig.go_on.set()
            assert (await rig.publish("ada")).status == 202
        else:
            task = asyncio.create_task(rig.publish("ada"))
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            rig.go_on.set()
        assert (await refused(rig, "ada")).status == 503
        if decided:
            rig.waiters["one"].hear(Heard({}, None))
        async with asyncio.timeout(5):
            while rig.waiters:  # noqa: ASYNC110 - a plain object, which no event announces
                await asyncio.sleep(0.01)
        await rig.publish("ada", name="two")

    asyncio.run(run())
