"""A long fixed story through a shard: every byte that it puts out or stores, held against those of an earlier program."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from agents.requests import CHAINS, REQUESTS, WINDOWS
from rules.model import Quorum
from schemas import topics
from schemas.base import Level
from schemas.commands import CommandBase
from schemas.reference import Delegation
from tests.unit.agents.harness import MemoryStore, Worker
from tests.unit.core import organisation as org

PEOPLE = ("sam", "sam", "sam", "tom", "ann", "bob", "cid", "dee", "eve", "fay", "gil", "root", "aud", "nobody")
VOTERS = ("ann", "bob", "cid", "dee", "eve", "fay", "gil")
TEXTS = ("", "Köln “Messe” 🎉", 'a\n\tb \\ "', "\u2028", "x" * 900)
STEP_MS = 20_011
TOPICS = (topics.AUDIT, topics.OUTCOMES, topics.NOTIFICATIONS)
TABLES = (CHAINS, REQUESTS, WINDOWS)
#: What must have happened for the digests to say anything.
MET = {"accepted", "repeated", "ignored", "already-voted", "stale-version", "request-exists", "window-closed"}

#: SHA-256 of what the story gives, by topic and by table. Another digest is another byte: a consumer, a stored record or a
#: chain of the audit log meets it. Change one together with the format that it belongs to, and only then.
DIGESTS = {
    topics.AUDIT: "8999a7222d6c70f8c61a98b76325f1a4849eadc86dfd3e60a120b68a2c770943",
    topics.OUTCOMES: "0c192b4dbf07f57f7bb8a43036e2f12fb79f47689f6f494508b3a514e86d5caf",
    topics.NOTIFICATIONS: "b3283c9ade99fc12fe76db9b9e5370c15464412ae8538c1bd45cf9cfe419ae3f",
    CHAINS: "9fb03d22515ca48e57b578de80bbc1e75d5126dbb2de6db177947c3da3b2276f",
    REQUESTS: "84034ae11d6a3e33d7ae052a8388930e1d53483babfc2dd180b10e8d5937f112",
    WINDOWS: "99e7a71ec865ae4829314fdc15a7301dfd84f5cb7ba432d01be946da93c5d218",
}


class Dice:
    """The same throws in every version of Python."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, sides: int) -> int:
        return int(self._random.random() * sides)

    def one_of(self, values: Sequence[Any]) -> Any:
        return values[self.below(len(values))]

    def id(self) -> str:
        return str(uuid.UUID(int=self.below(2**50) + (4 << 76)))


def story(dice: Dice, length: int) -> Iterator[CommandBase]:
    """Commands on two dozen requests, three at a time: most of them sensible, some refused, some sent again."""
    requests = tuple(dice.id() for _ in range(24))
    sent: list[CommandBase] = []
    for number in range(length):
        if number % 100 > 9 and dice.below(12) == 0:
            yield sent[-1 - dice.below(min(len(sent), 30))]
            continue
        facts: dict[str, Any] = {
            "command_id": dice.id(),
            "correlation_id": dice.id(),
            "request_id": dice.one_of(requests[number // 100 * 3 :][:3]),
            "salt": None if dice.below(6) == 0 else f"{dice.below(2**50):032x}",
            "source_address": dice.one_of((None, "203.0.113.7", "2001:db8::1")),
            "device_time": dice.one_of((None, None, "2026-05-28T20:00:00Z")),
        }
        if dice.below(8) == 0:
            facts["expected_version"] = dice.below(8)
        if number % 100 < 3:
            sent.append(org.submit(**facts | {"request_id": requests[number // 100 * 3 + number % 100]}))
        else:
            sent.append(_command(dice, facts))
        yield sent[-1]


def _command(dice: Dice, facts: dict[str, Any]) -> CommandBase:
    comment = dice.one_of(TEXTS)
    match dice.below(40):
        case 0 | 1:
            fields = {
                "amount": dice.one_of(("1250.00", "0.01", "77")), "currency": dice.one_of(("EUR", "EUR", "USD")),
                "category_id": dice.one_of(("travel", "travel", "travel", "closed", "none")), "title": "T" + comment[:190],
                "description": dice.one_of((None, comment)),
            }  # fmt: skip
            if fields["amount"] == "77":
                fields["currency"] = dice.one_of(("EUR", "JPY", "CHF"))
            return org.submit(dice.one_of(("sam", "sam", "sam", "tom", "ann")), **facts | fields)
        case 4:
            return org.reject(dice.one_of(VOTERS), **facts | {"comment": "No! " + comment})
        case 5 | 6:
            return org.rollback(dice.one_of(VOTERS), **facts | {"comment": comment})
        case 7:
            return org.withdraw(dice.one_of(("sam", "tom", "ann")), **facts | {"comment": comment or None})
        case 8 | 9:
            return org.comment(dice.one_of(PEOPLE), "Why? " + comment, **facts)
        case 10 | 11 | 12:
            return org.reassign(
                dice.one_of(("L1", "L2", "L3")), dice.one_of(("root", "root", "system", "ann")), **facts
            )
        case 13 | 14:
            return org.close(1 + dice.below(8), **facts)
        case 16 | 17:
            return org.remind(1 + dice.below(4), **facts)
        case 18 | 19:
            return org.escalate(1 + dice.below(4), **facts)
        case _:
            return org.approve(
                dice.one_of(PEOPLE if dice.below(8) == 0 else VOTERS), **facts | {"comment": comment or None}
            )


class Digested(MemoryStore):
    """A table that takes the digest of every row it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.digest = hashlib.sha256()

    def put_local(self, key: bytes, value: bytes | None) -> None:
        super().put_local(key, value)
        self.digest.update(repr((key, value)).encode())


def lived(seed: int) -> tuple[Worker, dict[str, Digested]]:
    """The story, with people who leave and come back, outputs that settle late, and a worker that starts again."""
    dice, worker = Dice(seed), _organised(seed)
    tables = {table: Digested() for table in TABLES}
    worker.stores.update(tables)
    for number, command in enumerate(story(dice, 700)):
        worker.send(command, number * STEP_MS)
        if number % 40 == 7:
            worker.settle(number - 5)
        if number % 90 == 50:
            worker.restart()
        if number % 60 == 30:
            worker.catalog.put(org.user("bob", "manager", active=number % 120 != 30, version=number))
    return worker, tables


def _organised(seed: int) -> Worker:
    held = org.catalog()
    held.put(org.user("gil", "manager"))
    ends = org.START + 400 * STEP_MS
    held.put(Delegation(id="d", version=1, delegator_id="cid", delegate_id="gil", from_ms=org.START, until_ms=ends))
    levels: tuple[Level, ...] = ("L1", "L2", "L3") if seed % 3 else ("L1", "L3")
    quorum: dict[Level, Quorum] = {"L1": "all"} if seed % 2 else {}
    rules = org.fixed_rules(levels, quorum, 20 * STEP_MS, remind_after=9 * STEP_MS, escalate_after=15 * STEP_MS)
    return Worker(held, rules)


def test_a_long_story_gives_the_bytes_that_it_always_gave() -> None:
    """Two versions of a worker disagree about a row, an id or a hash: an upgrade that takes over in mid-batch writes both."""
    digests = {name: hashlib.sha256() for name in (*TOPICS, *TABLES)}
    results: set[str] = set()
    for seed in range(4):
        worker, tables = lived(seed)
        results.update(result for _, result in worker.observed)
        for output in worker.log:
            digests[output.topic].update(repr((output.key, output.value, output.headers, output.partition)).encode())
        for table in TABLES:
            digests[table].update(tables[table].digest.digest())
    assert results >= MET
    assert {name: found.hexdigest() for name, found in digests.items()} == DIGESTS
