"""Rules published while people file requests, on three workers: in force at once, no request routed half by one version."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from agents.spread import partition_of
from ops.seed import rules_text
from tests import stack as stacks
from tests.client import Api, submission
from tests.stack import Stack

pytestmark = pytest.mark.xdist_group("live")

PARTITIONS = 4
CLIENTS = 6
PEOPLE = ("sam.sales", "sue.sales", "ana.sales")
CATEGORIES = ("travel", "meals", "hardware", "marketing", "training")
#: Levels of the one rule of a version; which one tells the version by itself.
ROUTES = (["L1"], ["L1", "L2"], ["L2"], ["L1", "L3"], ["L1", "L2", "L3"], ["L3"])


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """A stack with three workers."""
    with stacks.own("--workers", "3", ATHENA_RATE_LIMITS="off") as own:
        yield own


@dataclass
class Filed:
    """A request that was accepted: when it was sent and answered, in seconds."""

    sent: float
    answered: float
    request: dict[str, Any]

    @property
    def version(self) -> int:
        return int(self.request["route"]["rules_version"])

    @property
    def partition(self) -> int:
        return partition_of(str(self.request["id"]).encode(), PARTITIONS)


@dataclass
class Load:
    """People who file requests, one after the other each, until `stop`."""

    api: Api
    filed: list[Filed] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._file, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _file(self, number: int) -> None:
        turn = number
        while not self._stop.is_set():
            turn += 1
            body = submission(category_id=CATEGORIES[turn % 5], amount=f"{turn % 1900 + 1}.00", currency="USD")
            sent = time.monotonic()
            answer = self.api.post(PEOPLE[number % 3], "/requests", body)
            if answer.status_code == 201:
                self.filed.append(Filed(sent, time.monotonic(), answer.json()))
            else:
                self.wrong.append(answer.text)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def put(api: Api, text: str) -> httpx.Response:
    tag = api.get("admin", "/rules").headers["etag"]
    headers = {"If-Match": tag, "Content-Type": "application/yaml"}
    answer = api.call("admin", "PUT", "/rules", content=text.encode(), headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def one_rule(number: int) -> str:
    """A file whose only rule is named after its number, with levels and quorums of its own."""
    levels = ", ".join(ROUTES[number % len(ROUTES)])
    quorum = "{L2: 2}" if "L2" in levels else "{}"
    return (
        f"schema: 1\nbase_currency: USD\nrules:\n  - {{id: only-{number}, levels: [{levels}]"
        + (f", quorum: {quorum}" if quorum != "{}" else "")
        + "}\ndefault: {id: default, levels: [L1]}\n"
    )


def thousand_rules(levels: str = "L1") -> str:
    """A thousand rules, each of which can match."""
    lines = ["schema: 1", "base_currency: USD", "rules:"]
    for category in CATEGORIES:
        for band in range(200):
            amount = f'{{gte: "{band * 10}", lt: "{band * 10 + 10}"}}'
            when = f"{{category: [{category}], amount: {amount}}}"
            lines.append(f"  - {{id: {category}-{band}, when: {when}, levels: [{levels}]}}")
    return "\n".join([*lines, "default: {id: default, levels: [L1, L2]}", ""])


def test_a_version_is_in_force_within_two_seconds_and_never_half(own: Stack) -> None:
    """Otherwise money would be routed by rules that an admin has taken back, or by levels of one version and quorums of another."""
    api = Api(own.gateway, own.home.trust)
    load = Load(api)
    published: dict[int, tuple[int, float, float]] = {}
    try:
        time.sleep(2)
        for number in range(12):
            began = time.monotonic()
            version = put(api, one_rule(number)).json()["version"]
            published[version] = (number, began, time.monotonic())
            time.sleep(1.5)
        time.sleep(2)
    finally:
        load.stop()
        put(api, rules_text())
    assert load.wrong == []
    for one in load.filed:
        if one.version not in published:
            continue
        number, began, _ = published[one.version]
        assert one.answered > began
        route = one.request["route"]
        assert route["rule_id"] == f"only-{number}"
        assert [level["level"] for level in route["levels"]] == ROUTES[number % len(ROUTES)]
        assert all(level["quorum"] == (2 if level["level"] == "L2" else 1) for level in route["levels"])
    delays, late = [], []
    for version, (_, began, answered) in published.items():
        for partition in range(PARTITIONS):
            mine = [one for one in load.filed if one.partition == partition]
            first = min((one.answered for one in mine if one.version >= version), default=None)
            assert first is not None, f"version {version} routed nothing on partition {partition}"
            delays.append(first - began)
        # What is sent once the PUT was answered is routed by it: the gateway names how far it has read, and workers wait for that.
        late += [one for one in load.filed if one.sent > answered and one.version < version]
    print(  # noqa: T201 - the figure that the issue asks for
        f"{len(load.filed)} requests; from PUT to the first request by it on each partition: median "
        f"{sorted(delays)[len(delays) // 2]:.2f} s, worst {max(delays):.2f} s"
    )
    assert late == []
    assert max(delays) < 5.0  # 2 s is the target; the machine runs other tests too


def test_a_thousand_rules_are_published_while_deciding_goes_on(own: Stack) -> None:
    """Otherwise everybody's approvals would stand still whenever an admin publishes a large file."""
    api = Api(own.gateway, own.home.trust)
    load = Load(api)
    try:
        time.sleep(3)
        began = time.monotonic()
        version = put(api, thousand_rules()).json()["version"]
        answered = time.monotonic()
        deadline = answered + 20
        while time.monotonic() < deadline:
            new = {one.partition for one in list(load.filed) if one.version == version}
            if len(new) == PARTITIONS:
                break
            time.sleep(0.05)
        time.sleep(1)
    finally:
        load.stop()
        put(api, rules_text())
    assert load.wrong == []
    new = [one for one in load.filed if one.version == version]
    assert {one.partition for one in new} == set(range(PARTITIONS))
    for one in new:
        band = int(float(one.request["amount"]["amount"])) // 10
        expected = f"{one.request['category_id']}-{band}" if band < 200 else "default"
        assert one.request["route"]["rule_id"] == expected
    quiet = [one.answered - one.sent for one in load.filed if one.answered < began]
    busy = [one.answered - one.sent for one in load.filed if began <= one.sent < answered + 3]
    in_force = max(min(one.answered for one in new if one.partition == number) for number in range(PARTITIONS))
    before, meanwhile = (1000 * sorted(some)[len(some) // 2] for some in (quiet, busy))
    print(  # noqa: T201 - the figure that the issue asks for
        f"1,000 rules: PUT answered after {answered - began:.1f} s, everywhere {in_force - answered:.1f} s later; a submit "
        f"took {before:.0f} ms at the median before, {meanwhile:.0f} ms meanwhile; at most {1000 * max(quiet):.0f} and "
        f"{1000 * max(busy):.0f} ms"
    )
    assert max(busy) < 5.0
