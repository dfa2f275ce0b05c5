"""When a Faust consumer asks the broker: only while a poll waits for records.

By itself aiokafka 0.14.0 asks again as soon as records were taken. What is there just then stays in memory while the next poll
waits (`ops.pace`), and this poll brings it, and not what has come meanwhile: readers are a whole wait further behind. Here the
question waits, too, and one answer brings all of every partition.

Wraps private surface of aiokafka (`Fetcher._get_actions_per_node`, `_notify`, `_wait_consume_future`) and of faust-streaming 0.15.3
(`AIOKafkaConsumerThread._fetch_records`, `_create_worker_consumer`): both pinned in pyproject.toml, tested on a real broker.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from faust.transport.drivers import aiokafka as driver

from ops.kafka_driver import check_hearing

#: Seconds after which aiokafka leaves the group when nobody polls, and joins it again only when somebody does. Never: Faust polls
#: only while it has partitions. Tables being restored or a database that is away are no reason to leave; watchdogs see the rest.
LEAVES_AFTER_S = 1e9


class Gate:
    """Between a fetcher and the broker. Shut at first; positions are looked up all the same."""

    def __init__(self, fetcher: Any) -> None:
        self.fetcher = fetcher
        self._actions = fetcher._get_actions_per_node
        self._open = False
        fetcher._get_actions_per_node = self._passed

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Ask for records meanwhile."""
        self._open = True
        self.fetcher._notify(self.fetcher._wait_consume_future)
        try:
            yield
        finally:
            self._open = False

    def _passed(self, assignment: Any) -> tuple[Any, ...]:
        fetches, *others = self._actions(assignment)
        return (fetches if self._open else [], *others)


class GatedConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread with a gate before its fetcher."""

    #: The broker answers after so long when there is nothing. It answers a connection in order: offset look-ups wait as long.
    fetch_wait_ms = 1_000
    _gate: Gate | None = None

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = self.fetch_wait_ms
        return consumer

    async def _fetch_records(self, consumer: Any, *args: Any, **limits: Any) -> Any:
        if self._gate is None or self._gate.fetcher is not consumer._fetcher:
            self._gate = Gate(consumer._fetcher)
        check_hearing(consumer)
        with self._gate.opened():
            return await super()._fetch_records(consumer, *args, **limits)
