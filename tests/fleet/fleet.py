"""The whole fleet: it lives through its plans, comes back online, and is compared with the server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from tests import invariants
from tests.client import Api
from tests.fleet.book import Book
from tests.fleet.company import Administration, Person, hire, people
from tests.fleet.line import Line, LineBroken
from tests.fleet.phone import Phone
from tests.fleet.plan import Plan, Rest, Talk, Tap, plans
from tests.fleet.truth import differences
from tests.stack import Stack

#: How long all phones together may take until they are up to date, in seconds.
BACK_WITHIN = 300.0
_LOOKS = 10
_ONLINE = Talk(way="both", fate="good", delay=0.0, items=200, page=200, dies_at=0, by_time=False)
_LOOK = Talk(way="down", fate="good", delay=0.0, items=200, page=200, dies_at=0, by_time=False)


@dataclass
class Flown:
    """What a run came to. `wrong`: a sentence for each thing that is not as it must be."""

    phones: int
    taps: int
    sent: int
    results: Counter[str]
    met: Counter[str]
    changes: int
    seconds: float
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        results = ", ".join(f"{count} {name}" for name, count in sorted(self.results.items()))
        met = ", ".join(f"{name} {count}" for name, count in sorted(self.met.items()))
        return (
            f"{self.phones} phones, {self.taps} taps ({results}), sent {self.sent} times in batches, {self.changes} changes of "
            f"people, {self.seconds:.0f} s\nmet: {met}"
        )


def fly(
    stack: Stack, devices: int, steps: int, seed: int, *, rest: float, pause: float = 1.0, deep: bool = False
) -> Flown:
    """Two phones for each person, each with a plan of so many steps. `rest`: the longest time offline, `pause`: between two
    changes of people, in seconds. `deep`: the invariants of the log are checked as well.
    """
    staff = people((devices + 1) // 2)
    hire(stack, Api(stack.gateway, stack.home.trust), staff)
    return asyncio.run(_fly(stack, staff, plans(seed, devices, steps), seed, rest, pause, deep))


async def _fly(
    stack: Stack, staff: list[Person], made: list[Plan], seed: int, rest: float, pause: float, deep: bool
) -> Flown:
    began, book = time.monotonic(), Book()
    async with Line(stack.gateway, stack.home.trust) as line:
        phones = [
            Phone(number, one.id, one.roles, line, book, timedelta(hours=plan.skew))
            for number, (one, plan) in enumerate(zip([*staff, *staff], made, strict=False))
        ]
        administration, stop = Administration(line, staff, seed, pause), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            trouble = tasks.create_task(administration.run(stop))
            lives = [tasks.create_task(_live(phone, plan, rest)) for phone, plan in zip(phones, made, strict=True)]
            await asyncio.wait(lives)
            stop.set()
            await trouble
        wrong = await _all_back(stack, phones, book, {one.id: one for one in staff})
        calls = {f"line {fate}": count for fate, count in line.calls.items()}
    if deep:
        wrong += (await invariants.check(stack.home)).problems
    sent = sum(one.sent for one in book.taps.values())
    taken = time.monotonic() - began
    return Flown(
        len(phones), len(book.taps), sent, book.results, book.met + Counter(calls), administration.changes, taken, wrong
    )


async def _live(phone: Phone, plan: Plan, rest: float) -> None:
    for step in plan.steps:
        if isinstance(step, Tap):
            phone.tap(step)
        elif isinstance(step, Rest):
            await asyncio.sleep(step.part * rest)
        else:
            await _try(phone, step)


async def _try(phone: Phone, talk: Talk) -> None:
    with contextlib.suppress(LineBroken):
        await phone.talk(talk)


async def _all_back(stack: Stack, phones: list[Phone], book: Book, staff: dict[str, Person]) -> list[str]:
    """Let all phones talk until nothing is left to be told, and then look until the read side is as far as the log; what is wrong
    then.
    """
    until = time.monotonic() + BACK_WITHIN
    left = phones
    while left and time.monotonic() < until:
        await asyncio.gather(*(_try(phone, _ONLINE) for phone in left))
        left = [phone for phone in left if phone.kept.outbox and not staff[phone.user_id].leaves]
        await asyncio.sleep(0.2)
    wrong = [f"phone {phone.number} of {phone.user_id} still has {len(phone.kept.outbox)} taps" for phone in left]
    # Who left a moment ago is still being replaced as an approver.
    for _ in range(_LOOKS):
        await invariants.caught_up(stack.home)
        await asyncio.gather(*(_try(phone, _LOOK) for phone in phones))
        found = await differences(stack.postgres, phones, book)
        if not found:
            break
        await asyncio.sleep(1.0)
    return wrong + found
