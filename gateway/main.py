"""Entry point of the gateway process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from functools import partial
from typing import cast

import structlog
import uvicorn
from prometheus_client import start_http_server

from gateway.app import Gateway, create_app
from gateway.server.connection import Connection
from gateway.server.door import Door, Verdict
from gateway.server.listener import BACKLOG, Listener
from ops import garbage
from ops.logging import configure
from ops.settings import Settings
from ops.tls.context import server_context

log = structlog.get_logger(__name__)

#: Calls in progress get this long to end; waiting POSTs are answered 202 a little earlier.
GRACE_SECONDS = 6
_RELEASE_SECONDS = 3.0
_WATCH_SECONDS = 0.5


class _Server(uvicorn.Server):
    """Answers waiting POSTs before it stops, and stops when the gateway has failed for good."""

    gateway: Gateway
    door: Door
    #: The gateway's own certificate; None: plain HTTP.
    tls: ssl.SSLContext | None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the server. Uvicorn raises them again afterwards: asked to end, we end with exit code 0."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # With TLS we listen ourselves, see `gateway.server.listener`.
        await super().startup(sockets if self.tls is None else [])
        if self.tls is not None:
            await self._listen(self.tls)
        garbage.settle()
        self._tasks = (
            asyncio.create_task(self._watch(), name="watch"),
            asyncio.create_task(self._sweep(), name="sweep connections"),
        )

    async def _listen(self, tls: ssl.SSLContext) -> None:
        listener = Listener(self.door, tls, self._connection)
        self.servers.append(cast("asyncio.base_events.Server", listener))
        try:
            await listener.open(self.config.host, self.config.port)
        except OSError as error:
            log.error("the gateway cannot listen", host=self.config.host, port=self.config.port, error=str(error))
            await self.lifespan.shutdown()
            sys.exit(1)

    def _connection(self, loop: asyncio.AbstractEventLoop, address: str, verdict: Verdict) -> Connection:
        state, arrived = self.lifespan.state, (address, verdict)
        return Connection(self.config, self.server_state, state, loop, door=self.door, arrived=arrived)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        services = self.gateway.services
        services.close()
        asyncio.get_running_loop().call_later(_RELEASE_SECONDS, services.outcomes.release)
        await super().shutdown(sockets)

    async def _watch(self) -> None:
        while self.gateway.services.failed is None:  # noqa: ASYNC110 - the follower sets a field, not an event
            await asyncio.sleep(_WATCH_SECONDS)
        self.should_exit = True

    async def _sweep(self) -> None:
        """Connections have deadlines; a timer for each of them in each call would cost more than to look now and then."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.door.sweep_seconds)
            now = loop.time()
            for connection in list(self.server_state.connections):
                cast("Connection", connection).sweep(now)


def _https(settings: Settings) -> ssl.SSLContext | None:
    """The gateway's own certificate, taken up anew when its files change; None: plain HTTP."""
    if settings.gateway_tls_cert is None or settings.gateway_tls_key is None:
        return None
    context = server_context(settings.gateway_tls_cert, settings.gateway_tls_key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SystemExit: 1 when it could not go on; it is meant to be started again.
    """
    configure(settings)
    app = create_app(settings)
    start_http_server(settings.metrics_port, settings.metrics_host)
    door = Door(settings, app.services.proxies)
    config = uvicorn.Config(
        app,
        host=settings.gateway_host,
        port=settings.gateway_port,
        loop="uvloop",
        http=partial(Connection, door=door),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        backlog=BACKLOG,
        timeout_keep_alive=settings.idle_seconds,  # type: ignore[arg-type]  # a timer takes fractions too
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)
    server.gateway = app
    server.door = door
    server.tls = _https(settings)
    server.run()
    if not server.started or app.services.failed is not None:
        log.error("the gateway ends; it must be started again", reason=str(app.services.failed))
        sys.exit(1)
