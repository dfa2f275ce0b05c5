"""A batch, item by item: in order where an order can be seen, and no item for the price of another.

Each command goes to the log after the one before it is there; outcomes are waited for together. An item waits for the outcome of
the last item before it for its request, and for the one that its submission supersedes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway import metrics
from gateway.http.call import Call
from gateway.sync.delivery import deliver
from gateway.sync.known import settled
from gateway.sync.operation import Content, Operation, Unreadable
from gateway.sync.results import LATE, LOG_AWAY, Result, again, applied, blocked, rejected, retry

#: For one batch from here to its answer; what is not decided by then is `retry`. Phones give up after about 30 s.
BATCH_SECONDS = 20.0
#: For one item's outcome.
ITEM_SECONDS = 10.0
#: How long an item holds those up that come after it: a partition that stands still must not stop a whole batch.
TURN_SECONDS = 1.0
#: Commands of one batch whose outcomes are waited for at a time.
MAX_AT_ONCE = 50


@dataclass(slots=True)
class _Place:
    """An item on its way. `passed`: what comes after it may go on."""

    item: Operation | Unreadable
    result: asyncio.Future[Result]
    passed: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self, result: Result) -> None:
        self.result.set_result(result)
        self.passed.set()


async def run(call: Call, items: Sequence[Operation | Unreadable]) -> list[Result]:
    """One result per item. Raises Problem 503 when PostgreSQL does not answer; nothing was sent then."""
    known = await settled(call, items)
    results = await _Batch(call, known).run(items)
    for result in results:
        metrics.SYNC_ITEMS.labels(result["result"]).inc()
    return results


class _Batch:
    def __init__(self, call: Call, known: dict[Content, Result]) -> None:
        self._call = call
        self._known = known
        self._until = asyncio.get_running_loop().time() + BATCH_SECONDS
        self._room = asyncio.Semaphore(MAX_AT_ONCE)
        self._log_away = False
        #: The first item of each content, by request id the items of a request.
        self._ops: dict[Content, _Place] = {}
        self._items: dict[str, list[_Place]] = {}

    async def run(self, items: Sequence[Operation | Unreadable]) -> list[Result]:
        loop = asyncio.get_running_loop()
        places = [_Place(item, loop.create_future()) for item in items]
        async with asyncio.TaskGroup() as tasks:
            for place in places:
                item = place.item
                if isinstance(item, Unreadable):
                    place.settle(rejected(item.op_id, item.problem, self._call.correlation_id))
                elif (twin := self._ops.setdefault(item.content, place)) is place and item.content in self._known:
                    # What was done before is so, whatever became of the items before it.
                    place.settle(self._known[item.content])
                elif twin is not place:
                    tasks.create_task(self._twin(place, item, twin))
                else:
                    tasks.create_task(self._one(place, item, self._before(item)))
                if item.request_id is not None:
                    self._items.setdefault(item.request_id, []).append(place)
                await _within(place.passed, min(TURN_SECONDS, self._until - loop.time()))
        return [place.result.result() for place in places]

    def _before(self, item: Operation) -> list[_Place]:
        """The last ones of its requests; another content under its own op id is nothing that it could wait for."""
        names = (item.request_id, item.supersedes)
        found = [
            [each for each in self._items.get(name, ()) if not _same_op(each.item, item)] for name in names if name
        ]
        return [each[-1] for each in found if each]

    async def _one(self, place: _Place, item: Operation, before: Sequence[_Place]) -> None:
        for earlier in before:
            if not applied(await earlier.result):
                place.settle(blocked(item.op_id, earlier.item.op_id))
                return
        place.settle(await self._send(place, item))

    async def _send(self, place: _Place, item: Operation) -> Result:
        loop = asyncio.get_running_loop()
        async with self._room:
            if self._log_away:
                return retry(item.op_id, LOG_AWAY)
            if loop.time() >= self._until:
                return retry(item.op_id, LATE)
            result = await deliver(self._call, item, min(self._until, loop.time() + ITEM_SECONDS), place.passed.set)
        # The log would keep each of the others waiting as long.
        self._log_away = self._log_away or result.get("after") == LOG_AWAY
        return result

    async def _twin(self, place: _Place, item: Operation, first: _Place) -> None:
        """The same op once more."""
        place.settle(again(item.op_id, await first.result))


def _same_op(one: Operation | Unreadable, other: Operation) -> bool:
    return isinstance(one, Operation) and one.command_id == other.command_id


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await event.wait()
    except TimeoutError:
        pass
