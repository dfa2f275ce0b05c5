"""The worker's process: a Faust app with an agent on each commands topic and a table for each kind of state."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

import faust
import rocksdict
from faust.windows import TumblingWindow
from prometheus_client import REGISTRY, start_http_server

from agents.consumer import PromptConsumer, PromptTransport
from agents.exits import bound_shutdown
from agents.fetching import LEAVES_AFTER_S
from agents.host import ShardHost
from agents.kafka_cluster import kafka_world
from agents.polls import PollSchema
from agents.ports import Incoming
from agents.recovery import ShardTables
from agents.reference import CATALOG
from agents.requests import CHAINS, REQUESTS, WINDOWS
from agents.rocks import CACHE_BYTES, BoundedStore
from agents.runner import Arrived
from agents.security import SESSIONS
from agents.storage_metrics import StorageMetrics
from ops import garbage
from ops import logging as logs
from ops.kafka_clients import Kafka
from ops.settings import Settings
from ops.topics import verify
from schemas import topics
from tables.windows import BUCKET_S

#: Longest rollback window that a rules file can set (30 d), and a day.
WINDOW_EXPIRES_S = 31 * 24 * 3600.0
EXIT_REFUSED = 3


class BoundedTable(faust.Table):  # type: ignore[misc]
    """A table whose partitions share the app's block cache."""

    def _new_store_by_url(self, url: Any) -> BoundedStore:
        return BoundedStore(url, self.app, self, cache=self.app.block_cache, table_name=self.name, loop=self.loop)


class WorkerApp(faust.App):  # type: ignore[misc]
    """A Faust app that knows its shards."""

    host: ShardHost
    kafka: Kafka
    block_cache: rocksdict.Cache

    def databases(self) -> list[tuple[str, rocksdict.Rdict]]:
        """The open databases, each with its table's name."""
        return [(name, db) for name, table in list(self.tables.items()) for db in list(table.data._dbs.values())]

    @property
    def prompt_consumer(self) -> PromptConsumer:
        """The consumer, as the class that it is."""
        consumer: PromptConsumer = self.consumer
        return consumer

    def _new_transport(self) -> PromptTransport:
        return PromptTransport(self.conf.broker_consumer, self)

    async def on_start(self) -> None:
        await self.host.start()
        await super().on_start()

    async def on_stop(self) -> None:
        await self.host.stop()
        await super().on_stop()


class BoundedWorker(faust.Worker):  # type: ignore[misc]
    """Ends within a bound when it is asked to, whatever it was doing."""

    def _on_sigterm(self) -> None:
        bound_shutdown()
        super()._on_sigterm()

    def _on_sigint(self) -> None:
        bound_shutdown()
        super()._on_sigint()


def create(settings: Settings) -> WorkerApp:
    """The app, not started. Reads no network."""
    app = WorkerApp(
        topics.WORKER_GROUP,
        **settings.kafka.faust_options(),
        store="rocksdb://",
        TableManager=ShardTables,
        datadir=str(settings.data_dir),
        autodiscover=False,
        key_serializer="raw",
        value_serializer="raw",
        topic_partitions=settings.partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        web_enabled=False,
        processing_guarantee="at_least_once",
        consumer_auto_offset_reset="earliest",
        # With an id of its own a worker that is started again takes its partitions back at once, without the session time-out.
        consumer_group_instance_id=settings.instance_id or None,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=2.0,
        broker_request_timeout=30.0,
        broker_commit_interval=1.0,
        broker_max_poll_records=500,
        broker_max_poll_interval=LEAVES_AFTER_S,
        # In polls, not records: each holds up to `broker_max_poll_records`.
        stream_buffer_maxsize=2,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        worker_redirect_stdouts=False,
    )
    tables: dict[str, Any] = {}
    app.host = ShardHost(
        kafka_world(
            settings,
            tables.__getitem__,
            lambda: app.consumer_generation_id,
            lambda: app.tables.recovery.progress,
        )
    )
    app.kafka = settings.kafka
    app.block_cache = rocksdict.Cache(CACHE_BYTES)

    def table(name: str, partitions: int, **options: Any) -> None:
        made = BoundedTable(app, name=name, key_type=bytes, value_type=bytes, partitions=partitions, **options)
        tables[name] = app.tables.add(made)

    for name in (REQUESTS, CHAINS, SESSIONS):
        table(name, settings.partitions)
    table(CATALOG, 1)
    # Windowed: tumbling over the deadline. Its rows are written through the barrier like every other table's.
    table(WINDOWS, settings.partitions, window=TumblingWindow(BUCKET_S, expires=WINDOW_EXPIRES_S))
    for topic in (topics.COMMANDS, topics.SECURITY, topics.REFERENCE_COMMANDS):
        _add_agent(app, topic)
    _connect(app)
    return app


def _add_agent(app: WorkerApp, name: str) -> None:
    channel = app.topic(name, schema=PollSchema(key_type=bytes, value_type=bytes))

    async def decide(stream: Any) -> None:
        async for event in stream.noack().events():
            message = event.message
            done = app.prompt_consumer.done
            for tp, records in message.value.records.items():
                arrived = [Arrived(_incoming(one), partial(done, tp, one.offset)) for one in records]
                await app.host.dispatch((tp.topic, tp.partition), arrived, message.generation_id)

    app.agent(channel, name=name, concurrency=1)(decide)


def _incoming(record: Any) -> Incoming:
    """A record of aiokafka's as the shards know it."""
    return Incoming(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, record.headers
    )


def _connect(app: WorkerApp) -> None:
    @app.on_partitions_revoked.connect(weak=False)  # type: ignore[untyped-decorator]
    async def revoked(sender: Any, revoked: Any, **_: Any) -> None:
        # Whoever gets our partitions claims them after this: a claim of ours that is under way must be over by then.
        await app.tables.recovery.interrupt()
        await app.host.pause()


def run(settings: Settings) -> None:
    """Run the worker until SIGTERM or SIGINT. Refuses to start on topics that differ from the registry."""
    logs.configure(settings)
    differences = asyncio.run(verify(settings.kafka, settings.partitions, settings.replication_factor))
    if differences:
        logging.getLogger(__name__).critical("topics differ: %s", "; ".join(differences))
        raise SystemExit(EXIT_REFUSED)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    start_http_server(settings.metrics_port, addr=settings.metrics_host)
    app = create(settings)
    REGISTRY.register(StorageMetrics(app.block_cache, app.databases))
    garbage.settle()
    worker = BoundedWorker(app, loglevel=settings.log_level, quiet=True, redirect_stdouts=False, override_logging=False)
    worker.execute_from_commandline()
