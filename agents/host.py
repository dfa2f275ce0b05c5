"""Owns the shards of this worker: claims them when they are assigned, runs them, gives them up when they are revoked."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from agents import metrics
from agents.clock import ClockGuard, now_ms
from agents.fencing import MAX_REQUEST_BYTES
from agents.kafka_log import KafkaLog
from agents.ports import Fenced, Shard
from agents.reference import CATALOG, ReferenceShard
from agents.requests import REQUESTS, WINDOWS, RequestShard
from agents.rocks import RocksStore
from agents.rules_in_force import RulesInForce
from agents.runner import Arrived, ShardRunner
from agents.security import SESSIONS, SecurityShard
from agents.sweep import WindowSweep
from agents.topology import CHANGELOGS, OUTPUTS, TABLES
from ops.reference import ReferenceFollower
from ops.settings import Settings
from schemas import topics

log = structlog.get_logger(__name__)

Key = tuple[str, int]

STOP_TIMEOUT_S = 8.0
REFERENCE_TIMEOUT_S = 20.0
SWEEP_EVERY_S = 0.5
#: Part of the loop's time that the rebuild of the window index may take.
REBUILD_SHARE = 0.3
WATCH_EVERY_S = 2.0
#: Not ready while more records than this wait to be decided.
LAG_LIMIT = 5000
#: With lag and no progress for this long the process ends itself (Faust's own detector only logs).
STALL_LIMIT_S = 60.0
EXIT_FENCED, EXIT_FAILED, EXIT_STALLED = 75, 70, 71


def _readable(offsets: Mapping[Key, int]) -> dict[str, int]:
    return {f"{topic}/{partition}": offset for (topic, partition), offset in sorted(offsets.items())}


def _observe(kind: str, result: str) -> None:
    metrics.COMMANDS.labels(kind, result).inc()
    if result == "unstaffed":
        metrics.UNSTAFFED.inc()
        log.error("a level keeps its old pool, because no new one suffices: check its assignments", command=kind)


def die(reason: str, code: int, error: BaseException | None = None) -> None:
    """End the process without committing anything; the supervisor starts it again."""
    log.critical(reason, exit_code=code, exc_info=error)
    os._exit(code)


class ShardHost:
    """All state of the worker beside Faust's own. `table_of` gives the Faust table of a name, `generation` the
    consumer group's generation that is current."""

    def __init__(self, settings: Settings, table_of: Callable[[str], Any], generation: Callable[[], int]) -> None:
        self._generation = generation
        self._settings = settings
        self._table_of = table_of
        self.follower = ReferenceFollower(settings.kafka_bootstrap)
        self._rules = RulesInForce(self.follower.catalog)
        self.clock = ClockGuard()
        self.runners: dict[Key, ShardRunner] = {}
        self._logs: dict[Key, KafkaLog] = {}
        self._sweeps: dict[int, WindowSweep] = {}
        self._committed: dict[Key, int] = {}
        self._impossible: set[int] = set()
        self._opened = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._admin: AIOKafkaAdminClient | None = None
        self._sender: AIOKafkaProducer | None = None
        self._ends: AIOKafkaConsumer | None = None
        self._rebuild: asyncio.Task[None] | None = None
        self._progress_at = time.monotonic()

    async def start(self) -> None:
        """Read the reference data to its end, and start what runs beside the shards."""
        bootstrap = self._settings.kafka_bootstrap
        await self.follower.start()
        self._admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000)
        await self._admin.start()
        self._sender = AIOKafkaProducer(
            bootstrap_servers=bootstrap, enable_idempotence=True, acks="all", max_request_size=MAX_REQUEST_BYTES
        )
        await self._sender.start()
        self._ends = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        await self._ends.start()
        for work in (self._sweep_for_ever, self._watch_for_ever, self._clock_for_ever):
            self._tasks.append(asyncio.create_task(self._guarded(work), name=work.__name__))

    async def stop(self) -> None:
        """Give everything up; safe to call twice."""
        await self.pause()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._close_logs()
        await self.follower.stop()
        if self._sender is not None:
            await self._sender.stop()
        if self._ends is not None:
            await self._ends.stop()
        if self._admin is not None:
            await self._admin.close()

    async def claim(self, assigned: set[Any]) -> None:
        """Before recovery: shut every earlier owner out of the shards that are ours now."""
        await self.pause()
        await self._close_logs()
        partitions = self._settings.partitions
        shared = {topics.REFERENCE: 1, topics.AUDIT: partitions, topics.OUTCOMES: partitions}
        for tp in sorted(assigned):
            if tp.topic in TABLES:
                self._logs[tp.topic, tp.partition] = KafkaLog(
                    self._settings.kafka_bootstrap,
                    f"{tp.topic}-{tp.partition}",
                    tp.partition,
                    {name: CHANGELOGS[name] for name in TABLES[tp.topic]},
                    OUTPUTS[tp.topic],
                )
        await asyncio.gather(
            *(one.claim(shared if topic == topics.REFERENCE_COMMANDS else {}) for (topic, _), one in self._logs.items())
        )
        log.info("shards claimed", shards=[f"{topic}/{number}" for topic, number in self._logs])

    async def open(self) -> None:
        """After recovery: build the shards from their tables and start deciding."""
        claimed = self._logs
        sweeps: dict[int, WindowSweep] = {}
        await self._read_committed()
        stores_of = {key: self._stores(key) for key in claimed}
        for (topic, partition), stores in stores_of.items():
            if topic == topics.COMMANDS:
                sweeps[partition] = WindowSweep(partition, stores[REQUESTS], stores[WINDOWS])
        ends = await self._log_ends(claimed)
        if claimed is not self._logs:
            return  # the next rebalance came meanwhile: it opens what is ours then
        self._sweeps = sweeps
        for key, stores in stores_of.items():
            shard = self._shard(key, stores, ends[key])
            failed = partial(self._failed, key, stores)
            self.runners[key] = ShardRunner(shard, claimed[key], stores, self._caught_up, self.clock.ready, failed)
        metrics.PARTITIONS.set(sum(1 for topic, _ in self.runners if topic == topics.COMMANDS))
        metrics.READY.set(1)
        self._progress_at = time.monotonic()
        self._opened.set()
        self._rebuild = asyncio.create_task(self._guarded(self._rebuild_windows), name="rebuild-windows")
        log.info("shards opened; deciding", shards=len(self.runners), committed=_readable(self._committed))

    async def pause(self) -> None:
        """Stop deciding: finish the batches in hand, drop what is queued."""
        self._opened.clear()
        metrics.READY.set(0)
        if self._rebuild is not None:
            # It never waits but to sleep, so nothing of it is left half-done.
            self._rebuild.cancel()
            self._rebuild = None
        runners, self.runners = self.runners, {}
        try:
            await asyncio.gather(*(runner.stop(STOP_TIMEOUT_S) for runner in runners.values()))
        except TimeoutError as error:
            die("a batch did not end when its partition was revoked", EXIT_FAILED, error)

    async def dispatch(self, key: Key, arrived: Arrived, generation: int) -> None:
        """Hand a record to its shard. A record of an earlier assignment is dropped: it will come again, to its owner."""
        await self._opened.wait()
        runner = self.runners.get(key)
        if runner is not None and generation == self._generation():
            await runner.put(arrived)

    def _stores(self, key: Key) -> dict[str, RocksStore]:
        topic, partition = key
        return {name: RocksStore(self._table_of(name), partition) for name in TABLES[topic]}

    async def _log_ends(self, keys: Iterable[Key]) -> dict[Key, int]:
        """Where our shards' logs end now."""
        assert self._ends is not None
        async with asyncio.timeout(20):
            ends = await self._ends.end_offsets([TopicPartition(*key) for key in keys])
        return {(one.topic, one.partition): end for one, end in ends.items()}

    async def _rebuild_windows(self) -> None:
        """Index what windows are open, beside the deciding, in short slices; windows close as the index comes to know of them."""
        started = time.monotonic()
        seen = 0
        for sweep in list(self._sweeps.values()):
            count, before = 0, time.monotonic()
            for count in sweep.rebuild():  # noqa: B007 - the last one is what counts
                worked = time.monotonic() - before
                await asyncio.sleep(worked * (1 - REBUILD_SHARE) / REBUILD_SHARE)
                before = time.monotonic()
            seen += count
        log.info("window index is complete", requests=seen, seconds=round(time.monotonic() - started, 3))

    def _shard(self, key: Key, stores: Mapping[str, RocksStore], end: int) -> Shard:
        settled = self._committed.get(key, 0)
        topic, partition = key
        if topic == topics.SECURITY:
            return SecurityShard(partition, stores[SESSIONS], settled, end)
        if topic == topics.REFERENCE_COMMANDS:
            return ReferenceShard(stores[CATALOG], self._settings.partitions, settled, end)
        return RequestShard(
            partition,
            stores,
            self.follower.catalog,
            self._rules,
            settled,
            end,
            lambda offset: offset in self._impossible,
            _observe,
        )

    async def _caught_up(self, offset: int) -> None:
        if await self.follower.end_offset() < offset:
            self._impossible = {*list(self._impossible)[-1000:], offset}
            return
        if not await self.follower.wait_for(offset, REFERENCE_TIMEOUT_S):
            raise TimeoutError(f"reference data up to offset {offset} did not arrive within {REFERENCE_TIMEOUT_S} s")

    def _failed(self, key: Key, stores: Mapping[str, RocksStore], error: BaseException) -> None:
        topic, partition = key
        if isinstance(error, Fenced):
            for store in stores.values():
                store.wipe()
            die(f"{topic}/{partition} has another owner; this one ends and its store is wiped", EXIT_FENCED, error)
        die(f"{topic}/{partition} cannot go on; nothing of its batch was committed", EXIT_FAILED, error)

    async def _guarded(self, work: Callable[[], Any]) -> None:
        try:
            await work()
        except Exception as error:
            die(f"{work.__name__} failed", EXIT_FAILED, error)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            await self._opened.wait()
            for sweep in list(self._sweeps.values()):
                due = sweep.due(now_ms())
                if not due:
                    continue
                assert self._sender is not None
                async with asyncio.timeout(30):
                    sent = [
                        await self._sender.send(
                            one.topic, key=one.key, value=one.value, headers=one.headers, partition=one.partition
                        )
                        for one in due
                    ]
                    await asyncio.gather(*sent)
                metrics.WINDOWS_DUE.inc(len(due))

    async def _clock_for_ever(self) -> None:
        assert self._sender is not None
        sender = self._sender

        async def probe() -> int:
            # A tombstone on a compacted topic of LogAppendTime: its acknowledgement tells the broker's time.
            async with asyncio.timeout(30):
                sent = await sender.send_and_wait(topics.CHAINS_CHANGELOG, key=b"\x00clock", value=None, partition=0)
            return int(sent.timestamp)

        await self.clock.watch(probe)

    async def _watch_for_ever(self) -> None:
        before = -1
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            if self.follower.failed is not None:
                die("reference data can no longer be followed", EXIT_FAILED, self.follower.failed)
            metrics.REFERENCE_OFFSET.set(self.follower.catalog.offset)
            await self._read_committed()
            lag = await self._lag()
            working = self._opened.is_set() and self.clock.sane
            metrics.READY.set(1 if working and lag < LAG_LIMIT else 0)
            done = sum(self._committed.values())
            if lag == 0 or done != before or not working:
                before, self._progress_at = done, time.monotonic()
            elif time.monotonic() - self._progress_at > STALL_LIMIT_S:
                die(f"{lag} records wait and none was committed for {STALL_LIMIT_S} s", EXIT_STALLED)

    async def _lag(self) -> int:
        """Records of our shards that are not committed yet; sets the gauge by topic."""
        shards = [TopicPartition(*key) for key in self.runners]
        if not shards:
            return 0
        assert self._ends is not None
        async with asyncio.timeout(20):
            ends = await self._ends.end_offsets(shards)
            behind = [one for one in shards if ends[one] > self._committed.get((one.topic, one.partition), 0)]
            # What retention has removed can no longer be decided.
            begins = await self._ends.beginning_offsets(behind) if behind else {}
        by_topic = dict.fromkeys(TABLES, 0)
        for one in behind:
            done = max(begins[one], self._committed.get((one.topic, one.partition), 0))
            by_topic[one.topic] += max(0, ends[one] - done)
        for topic, lag in by_topic.items():
            metrics.LAG.labels(topic).set(lag)
        return sum(by_topic.values())

    async def _read_committed(self) -> None:
        """What the group has really committed: outputs of earlier commands are in the log."""
        assert self._admin is not None
        async with asyncio.timeout(20):
            found = await self._admin.list_consumer_group_offsets(topics.WORKER_GROUP)
        for tp, metadata in found.items():
            if isinstance(tp, TopicPartition) and metadata.offset >= 0:
                self._committed[tp.topic, tp.partition] = metadata.offset

    async def _close_logs(self) -> None:
        logs, self._logs = self._logs, {}
        await asyncio.gather(*(one.stop() for one in logs.values()), return_exceptions=True)
