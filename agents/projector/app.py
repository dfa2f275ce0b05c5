"""The projector's process: a Faust app whose one agent applies `athena.audit` to PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any

import faust
import structlog
from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from agents.checkpointer.app import Checkpointer, read_key
from agents.exits import EXIT_STALLED, bound_shutdown, die
from agents.exits import end as _end
from agents.fetching import LEAVES_AFTER_S
from agents.polls import PollSchema
from agents.projector import metrics
from agents.projector.arrays import look_for_lists
from agents.projector.consumer import LOOK_TIME_OUT, PollConsumer, PollTransport
from agents.projector.ports import Unavailable
from agents.projector.projector import Projector
from agents.projector.record import Poison
from agents.projector.store import MARK_SECONDS, Store
from agents.watchdog import Place, Watchdog
from ops import garbage
from ops import logging as logs
from ops.kafka_driver import Deaf
from ops.secrets.postgres import check_url
from ops.secrets.process import Secrets
from ops.secrets.secret import Secret
from ops.settings import Settings
from ops.stack.errors import StackError
from ops.topics import verify
from schemas import topics

log = structlog.get_logger(__name__)

#: Records of one poll at most: bounds memory and the time of one transaction.
POLL_RECORDS = 500
#: Not ready while more records than this are not yet applied.
LAG_LIMIT = 5_000
WATCH_INTERVAL = 2.0
LOOK_INTERVAL = 5.0
#: Seconds the metric says "stopped" before the process ends, so that it is scraped.
STOP_LINGER = 10.0
EXIT_STOPPED, EXIT_CRASHED, EXIT_REFUSED = 70, 1, 3


class Sight(Enum):
    """What came of the last look at the broker: an answer, none, or not even the consumer's thread did as it was told."""

    CLEAR = "answers"
    AWAY = "does not answer"
    BLIND = "the consumer's thread hangs"


class ProjectorApp(faust.App):  # type: ignore[misc]
    """What `PollConsumer` asks of its app, and the clocks that watch it."""

    projector: Projector
    #: Where the log ended at the last look, by partition.
    ends: Mapping[TP, int] = {}
    sight: Sight = Sight.CLEAR
    linger = STOP_LINGER
    mark: Callable[[], Awaitable[None]]
    checkpointer: Checkpointer

    def _new_transport(self) -> Any:
        return PollTransport(self.conf.broker_consumer, self)

    @property
    def poll_consumer(self) -> PollConsumer:
        """The consumer, as the class that it is."""
        consumer: PollConsumer = self.consumer
        return consumer

    async def positions(self, partitions: list[int]) -> dict[int, int]:
        """Where each partition is to be read from: PostgreSQL's word."""
        return await self.projector.positions(partitions)

    def on_sought(self, target: dict[TP, int], ends: dict[Any, int]) -> None:
        """Reading begins at `target`; the log ended at `ends` just now."""
        metrics.LAG.clear()
        metrics.NEXT_OFFSET.clear()
        log.info("reading from the applied offsets", offsets={tp.partition: offset for tp, offset in target.items()})

    async def stop_for(self, poison: Poison) -> None:
        """End the process at a record that must not be skipped. Does not return."""
        metrics.STOPPED.set(1)
        metrics.READY.set(0)
        log.critical(
            "the projector stops: it must not skip this",
            why=poison.why,
            topic=topics.AUDIT,
            partition=poison.partition,
            offset=poison.offset,
        )
        await asyncio.sleep(self.linger)
        _end(EXIT_STOPPED)

    async def watch(self) -> None:
        """Keep the gauges, look at the broker, and end the process when it stands still."""
        looked, marked = time.monotonic(), float("-inf")
        watchdog: Watchdog[int] = Watchdog()
        while not self.should_stop:
            await asyncio.sleep(WATCH_INTERVAL)
            reason = self._verdict(watchdog, self._measure(), time.monotonic())
            if reason is not None:
                die(f"the projector stands still; ending: {reason}", EXIT_STALLED)
            if not self.checkpointer.alive:
                die("the checkpointer's thread has ended; so does the projector", EXIT_STALLED)
            if time.monotonic() - looked > LOOK_INTERVAL:
                looked = time.monotonic()
                await self._look()
            if time.monotonic() - marked > MARK_SECONDS:
                marked = time.monotonic()
                with contextlib.suppress(Unavailable):
                    await self.mark()
            await self._look_for_rebuild()

    def _verdict(self, watchdog: Watchdog[int], places: dict[int, Place], now: float) -> str | None:
        if self.projector.waiting_for_database or self.sight is Sight.AWAY:
            watchdog.excused(now)
            return None
        # No partition to read from: the group has not given one yet, or the seek to the applied offsets does not succeed. A
        # projector too many has none for ever, and nothing to do.
        if self.sight is Sight.BLIND or self.poll_consumer.joining or (not places and self.poll_consumer.assigned()):
            return watchdog.opening(now, 0)
        return watchdog.working(now, places)

    async def _look_for_rebuild(self) -> None:
        """Notice offsets that were set back (`athena projector rebuild`) although nothing new arrives; a sign of life, too."""
        with contextlib.suppress(Unavailable):
            await self.projector.look_for_rebuild()

    def _measure(self) -> dict[int, Place]:
        """Where each partition that is read stands; sets the gauges."""
        places = {}
        reading = self.poll_consumer.applied()
        for tp, read in reading.items():
            applied = self.projector.applied.get(tp.partition, 0)
            if applied >= read:
                # What is left at the end of the log may be control records, which no one is given.
                applied = max(applied, self.poll_consumer.position_of(tp) or 0)
            end = max(self.poll_consumer.highwater(tp) or 0, self.ends.get(tp, 0))
            lag = max(0, end - applied)
            places[tp.partition] = Place(applied, lag)
            metrics.LAG.labels(tp.partition).set(lag)
            metrics.NEXT_OFFSET.labels(tp.partition).set(applied)
        total = sum(place.lag for place in places.values())
        seen = self.sight is Sight.CLEAR and not self.projector.waiting_for_database
        ready = bool(places) and seen and total < LAG_LIMIT
        metrics.READY.set(1 if ready else 0)
        return places

    async def _look(self) -> None:
        """Ask the broker where the log ends: fetches tell that only while there are any."""
        try:
            async with asyncio.timeout(3 * LOOK_TIME_OUT):
                self.ends = await self.poll_consumer.look(self.projector.applied)
            sight = Sight.CLEAR
        except Deaf as error:
            die("the projector hears of nothing more; ending", EXIT_STALLED, error)
        except TimeoutError:
            sight = Sight.BLIND
        except (KafkaError, ConsumerNotStarted):
            sight = Sight.AWAY
        if sight is not self.sight:
            log.warning("the broker, as the projector sees it", sight=sight.value)
        self.sight = sight


def create(settings: Settings, database_url: Secret) -> faust.App:
    """The app, not started. Reads no network."""
    app = ProjectorApp(
        topics.PROJECTOR_GROUP,
        **settings.kafka.faust_options(),
        store="memory://",
        datadir=str(settings.data_dir),
        key_serializer="raw",
        value_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.partitions,
        table_standby_replicas=0,
        web_enabled=False,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=2.0,
        broker_max_poll_records=POLL_RECORDS,
        broker_max_poll_interval=LEAVES_AFTER_S,
        consumer_auto_offset_reset="earliest",
        processing_guarantee="at_least_once",
        # Not a table or a stream of ours: the consumer's own partitions do.
        stream_buffer_maxsize=2,
        worker_redirect_stdouts=False,
    )
    store = Store(database_url, tls=settings.tls)
    app.mark = lambda: store.mark(settings.sync_horizon_days)
    app.projector = Projector(
        store,
        current_epoch=lambda: app.poll_consumer.epoch,
        resync=lambda: app.poll_consumer.resync(),  # noqa: PLW0108 - the consumer is made later
        stop=app.stop_for,
    )
    # Polls, not records: see consumer.py. Offsets are committed with the rows, so Faust acknowledges nothing.
    channel = app.topic(topics.AUDIT, schema=PollSchema(key_type=bytes, value_type=bytes), acks=False)

    @app.agent(channel, name="projector", concurrency=1)  # type: ignore[untyped-decorator]
    async def project(stream: Any) -> None:
        async for poll in stream:
            try:
                await app.projector.apply(poll)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                # A bug. Faust would acknowledge and go on: nothing may be skipped.
                log.exception("the projector failed")
                await app.stop_for(Poison(f"unexpected: {error!r}", poll.slices[0].partition, poll.slices[0].start))
            finally:
                app.poll_consumer.poll_written(poll.epoch)

    return app


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, with the checkpointer beside it; ends the process.

    Exit codes: 0 asked to stop, 1 crashed, 3 topics differ or Kafka cannot be reached, 70 stopped at a record that it must not
    skip, 71 stood still.
    """
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    look_for_lists()
    logs.configure(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    secrets = Secrets(settings)
    checkpointer = Checkpointer(settings, secrets.take("checkpoint_key", read_key))
    code = asyncio.run(_main(settings, checkpointer, secrets))
    _end(code)


async def _main(settings: Settings, checkpointer: Checkpointer, secrets: Secrets) -> int:
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    metrics.STOPPED.set(0)
    metrics.serve(settings.metrics_host, settings.metrics_port)
    try:
        differences = await verify(settings.kafka, settings.partitions, settings.replication_factor)
    except StackError as error:
        differences = [str(error)]
    if differences:
        log.error("the projector does not start", differences=differences)
        return EXIT_REFUSED
    checkpointer.start()
    app = create(settings, secrets.take("database_url", check_url))
    app.checkpointer = checkpointer
    garbage.settle()
    watching = asyncio.create_task(secrets.watch(), name="secrets")
    running = [asyncio.create_task(coroutine) for coroutine in (asked.wait(), app.start(), app._crashed.wait())]
    watch = asyncio.create_task(app.watch())
    try:
        # `start` returns once the partitions are assigned; the app goes on by itself.
        pending = {*running, watch}
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            failed = next((task for task in done if task.exception() is not None), None)
            if asked.is_set():
                code = 0
                break
            if failed is not None or running[2].done():
                log.error("the projector crashed", error=repr(failed.exception() if failed else app._crash_reason))
                code = EXIT_CRASHED
                break
        bound_shutdown(code)
        watch.cancel()
        watching.cancel()
        await asyncio.gather(app.stop(), asyncio.to_thread(checkpointer.stop))
        await app.projector.store.close()
    except Exception:
        log.exception("the projector did not stop cleanly")
    return code
