"""Large rules files are checked and compiled beside the deciding: a worker that stood still meanwhile would stall everybody."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvloop

from agents import rules_checks, rules_watch
from agents.barrier import process
from agents.ports import Busy
from agents.reference import CATALOG, ReferenceShard
from agents.rules_checks import RulesChecks
from agents.rules_in_force import RulesInForce
from ops.checking import process as checking
from rules.engine import Facts
from schemas import topics
from schemas.catalog import Catalog
from schemas.reference import Assignment, Rules, User
from tests.unit.agents.harness import MemoryLog, document, incoming
from tests.unit.agents.test_reference_shard import RULES, Registry

THOUSAND = "\n".join(
    [
        "schema: 1", "base_currency: USD", "rules:",
        *(
            f'  - {{id: r{n}, when: {{amount: {{gte: "{n}", lt: "{n + 1}"}}}}, levels: [L1]}}' for n in range(1000)
        ),
        "default: {id: default, levels: [L1]}",
    ]
)  # fmt: skip


class Aside(Registry):
    """A registry whose shard checks as the worker's does."""

    def restart(self) -> None:
        self.shard = ReferenceShard(self.store, 4, self.settled, self.end, RulesChecks())

    def through(self, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
        """The outcomes of commands that come as one batch through the barrier."""
        records = []
        for body in bodies:
            self.offset += 1
            records.append(incoming(orjson.dumps(body), self.offset, topic=topics.REFERENCE_COMMANDS))
        log = MemoryLog()

        async def never(offset: int) -> None:
            raise AssertionError(offset)

        asyncio.run(process(self.shard, records, log, {CATALOG: self.store}, never))
        return [document(one) for one in log.outputs if one.topic == topics.OUTCOMES]


def test_a_large_file_is_checked_elsewhere_in_the_order_of_the_log() -> None:
    """The check sees the organisation as the commands before it left it, and what comes after waits."""
    registry = Aside()
    gone = registry.remove("assignment", "t1")
    back = registry.put("t1", {"kind": "assignment", "category_id": "travel", "level": "L1", "approver_id": "ann"})
    found = registry.through(
        registry.publish(THOUSAND), gone, registry.publish(THOUSAND), back, registry.publish(THOUSAND)
    )
    assert [one["code"] for one in found] == [None, None, "rules-invalid", None, None]
    assert {one["code"] for one in found[2]["findings"] if one["severity"] == "error"} == {"unstaffable-route"}
    assert [one["version"] for one in found if one["entity"] and "findings" in one["entity"]] == [1, 2]


def test_a_file_whose_check_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one upload would keep all changes of reference data waiting for ever."""
    monkeypatch.setattr(rules_checks, "CHECK_SECONDS", 0.05)
    (found,) = Aside().through(Aside().publish(THOUSAND))
    assert found["code"] == "rules-invalid"
    assert [one["code"] for one in found["findings"]] == ["too-large"]


DIES = (("false",), ("true",), ("sh", "-c", "kill -9 $$"))


def test_a_program_that_dies_or_talks_for_ever_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the shard would stand still, or hold what the program said."""
    ask = {"ask": "check", "yaml": RULES}
    too_much = (("sh", "-c", "sleep 60"), ("sh", "-c", "cat /dev/zero"), ("sh", "-c", "kill -XCPU $$"))
    for command in too_much + DIES:
        monkeypatch.setattr(checking, "_COMMAND", command)
        began = time.monotonic()
        with pytest.raises(checking.DiedError if command in DIES else checking.TooMuchError):
            asyncio.run(checking.ask(ask, Catalog(), 1.0))
        assert time.monotonic() - began < 20
    monkeypatch.setattr(checking, "_COMMAND", ("/no/such/program",))
    with pytest.raises(OSError, match="no/such/program"):
        asyncio.run(checking.ask(ask, Catalog(), 1.0))


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_program_that_dies_before_it_has_heard_all_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Else it would end the worker that asks: uvloop refuses to write to a pipe that is closed, asyncio does not."""
    monkeypatch.setattr(checking, "_COMMAND", (sys.executable, "-c", ""))

    async def feed(write: checking.Write) -> None:
        for _ in range(10_000):
            await write(b"more\n")
            await asyncio.sleep(0.001)

    with asyncio.Runner(loop_factory=loop) as runner, pytest.raises(checking.DiedError):
        runner.run(checking.ask({"ask": "check"}, None, 10.0, feed))


def test_a_killed_program_is_waited_for_however_full_its_pipe_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then (once in some 50 times) the shard stood still for ever: a full reader never saw the end of the pipe."""
    monkeypatch.setattr(checking, "_COMMAND", ("sh", "-c", "cat /dev/zero"))

    async def again_and_again() -> None:
        for _ in range(100):
            with pytest.raises(checking.TooMuchError):
                async with asyncio.timeout(20):
                    await checking.ask({"ask": "check", "yaml": RULES}, Catalog(), 5.0)

    asyncio.run(again_and_again())


@pytest.mark.parametrize("command", [*DIES, ("/no/such/program",)])
def test_a_check_that_dies_refuses_nothing(monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    """Otherwise a kernel short of memory would tell an admin, for ever and on record, that a good file is too large."""
    registry, program = Aside(), checking._COMMAND
    monkeypatch.setattr(rules_checks, "PAUSE", 0.01)
    monkeypatch.setattr(checking, "_COMMAND", command)
    publish = registry.publish(THOUSAND)
    (found,) = registry.through(publish)
    assert (found["status"], found["code"]) == ("failed", "failed")
    assert registry.shard.catalog.newest_rules_version == 0
    monkeypatch.setattr(checking, "_COMMAND", program)
    (found,) = registry.through(publish)
    assert (found["status"], found["entity"]["version"]) == ("accepted", 1), "the same command, sent again"


def test_a_check_that_dies_once_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Otherwise an operator would have to replay what the worker can try by itself."""
    once, program = tmp_path / "once", " ".join(checking._COMMAND)
    script = f"if [ -e {once} ]; then exec {program}; else touch {once}; kill -9 $$; fi"
    monkeypatch.setattr(checking, "_COMMAND", ("sh", "-c", script))
    (found,) = Aside().through(Aside().publish(THOUSAND))
    assert once.exists() and found["status"] == "accepted"


def test_a_file_that_takes_too_much_memory_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a file that can never be checked would look like a machine that fails."""
    monkeypatch.setattr(checking, "MEMORY", 16 * 1024 * 1024)
    (found,) = Aside().through(Aside().publish(THOUSAND))
    assert [one["code"] for one in found["findings"]] == ["too-large"]


def test_half_of_the_requests_are_no_answer() -> None:
    """Otherwise a database that goes away would make a simulation of some requests look like one of all."""
    question = {"ask": "simulate", "yaml": RULES, "decision_ms": {}}

    async def breaks(write: checking.Write) -> None:
        await write(b"")
        raise ConnectionResetError("the database has gone")

    with pytest.raises(ConnectionResetError, match="database"):
        asyncio.run(checking.ask(question, Catalog(), 30.0, breaks))

    async def goes_on(write: checking.Write) -> None:
        while True:
            await write(b"x" * 65536)

    # A file that is none is answered although nobody reads what follows.
    answer = asyncio.run(checking.ask(question | {"yaml": "schema: 2"}, Catalog(), 30.0, goes_on))
    assert {one["code"] for one in answer["findings"]} == {"bad-value", "missing-key"}


def test_a_small_file_is_checked_at_once() -> None:
    """A process for each would make publishing slower than anybody expects of five rules."""
    assert RulesChecks()(RULES, Catalog())
    with pytest.raises(Busy):
        RulesChecks()(THOUSAND, Catalog())


@pytest.mark.parametrize("kind", ["user", "assignment"])
def test_a_small_file_of_a_large_organisation_is_checked_elsewhere(kind: str) -> None:
    """Otherwise everybody's requests would wait for seconds while a few rules are held against a hundred thousand people."""
    catalog = Catalog()
    for number in range(1001):
        id_ = f"x{number}"
        if kind == "user":
            catalog.put(
                User(id=id_, version=1, email=f"{id_}@athena.test", name="x", roles=("sales",), department_id="hq")
            )
        else:
            catalog.put(Assignment(id=id_, version=1, category_id="travel", level="L1", approver_id=id_))
    with pytest.raises(Busy):
        RulesChecks()(RULES, catalog)


def published(catalog: Catalog, version: int, text: str) -> Rules:
    rules = Rules(id=str(version), version=version, author_id="a", at=0, comment=None, yaml=text)
    catalog.put(rules)
    return rules


def test_the_version_before_routes_until_a_large_one_is_compiled() -> None:
    """Compiling takes a second: meanwhile everybody's requests would wait."""
    catalog = Catalog()
    published(catalog, 1, RULES)
    rules = RulesInForce(catalog, aside=True)
    assert rules() is not None and rules().version == 1  # type: ignore[union-attr]

    async def publish() -> tuple[float, list[int]]:
        versions, slowest = [], 0.0
        rules.heard(published(catalog, 2, THOUSAND))
        until = time.monotonic() + 60
        while not versions or versions[-1] != 2:
            assert time.monotonic() < until
            begin = time.perf_counter()
            await asyncio.sleep(0.001)
            found = rules()
            assert found is not None
            # The file, the engine and the number are those of one version.
            assert found.route(Facts("travel", "hq", "emea", "USD", 50_050)).id == (
                "r500" if found.version == 2 else "default"
            )
            versions.append(found.version)
            slowest = max(slowest, time.perf_counter() - begin)
        return slowest, versions

    slowest, versions = asyncio.run(publish())
    assert versions == sorted(versions) and set(versions) == {1, 2}
    print(f"the loop stood still for {slowest * 1000:.0f} ms at most, {len(versions)} turns")  # noqa: T201 - the figure
    assert len(versions) > 10


def test_a_version_that_was_replaced_while_it_was_compiled_does_not_come_back() -> None:
    """Otherwise rules that were taken back would be in force again."""
    catalog = Catalog()
    published(catalog, 1, RULES)
    rules = RulesInForce(catalog, aside=True)
    rules()

    async def publish() -> list[int]:
        versions = []
        rules.heard(published(catalog, 2, THOUSAND))
        await asyncio.sleep(0.05)
        rules.heard(published(catalog, 3, THOUSAND + "\n# newer\n"))
        await asyncio.sleep(0.05)
        rules.heard(published(catalog, 4, RULES))
        until = time.monotonic() + 5
        while time.monotonic() < until:
            found = rules()
            assert found is not None
            versions.append(found.version)
            await asyncio.sleep(0.02)
        return versions

    versions = asyncio.run(publish())
    assert versions == sorted(versions) and versions[-1] == 4


def test_a_change_of_the_organisation_is_checked_against_the_rules_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise nobody would learn that a route cannot be staffed any more until somebody files a request there."""
    monkeypatch.setattr(rules_watch, "EVERY", 0.01)
    monkeypatch.setattr(rules_watch, "REST", 0.01)
    registry = Registry()
    catalog = registry.shard.catalog
    registry.code(registry.publish())
    watch = rules_watch.RulesWatch(catalog)
    gauge = rules_watch.metrics.RULES_FINDINGS

    def figures() -> dict[str, float]:
        return {one.labels["severity"]: one.value for metric in gauge.collect() for one in metric.samples}

    async def look(times: int, ours: bool = True) -> None:
        for _ in range(times):
            await watch.look(ours=ours)

    catalog.offset = 5
    asyncio.run(look(2))
    assert figures()["error"] == 0
    # A check that comes to nothing is no error of the file; it is made again.
    monkeypatch.setattr(rules_checks, "PAUSE", 0.01)
    program = checking._COMMAND
    for command, offset in ((("false",), 7), (program, 7)):
        monkeypatch.setattr(checking, "_COMMAND", command)
        catalog.offset = offset
        asyncio.run(look(2))
        assert figures()["error"] == 0
    registry.code(registry.remove("assignment", "t1"))
    catalog.offset = 8
    asyncio.run(look(2))
    assert figures()["error"] == 1
    looked: Callable[[], None] = lambda: pytest.fail("nothing has changed")  # noqa: E731
    monkeypatch.setattr(rules_watch, "check_aside", lambda *_: looked())
    asyncio.run(look(3))
    # Another worker has taken over: it tells, and nobody else.
    asyncio.run(look(1, ours=False))
    assert figures() == {}
