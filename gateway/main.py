"""Entry point of the gateway process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Iterator

import structlog
import uvicorn
from prometheus_client import start_http_server

from gateway.app import Gateway, create_app
from ops.logging import configure
from ops.settings import Settings

log = structlog.get_logger(__name__)

#: Calls in progress get this long to end; waiting POSTs are answered 202 a little earlier.
GRACE_SECONDS = 6
_RELEASE_SECONDS = 3.0
_WATCH_SECONDS = 0.5


class _Server(uvicorn.Server):
    """Answers waiting POSTs before it stops, and stops when the gateway has failed for good."""

    gateway: Gateway

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
        await super().startup(sockets)
        gc.freeze()
        self._watcher = asyncio.create_task(self._watch(), name="watch")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        services = self.gateway.services
        services.close()
        asyncio.get_running_loop().call_later(_RELEASE_SECONDS, services.outcomes.release)
        await super().shutdown(sockets)

    async def _watch(self) -> None:
        while self.gateway.services.failed is None:  # noqa: ASYNC110 - the follower sets a field, not an event
            await asyncio.sleep(_WATCH_SECONDS)
        self.should_exit = True


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SystemExit: 1 when it could not go on; it is meant to be started again.
    """
    configure(settings)
    app = create_app(settings)
    start_http_server(settings.metrics_port, settings.metrics_host)
    config = uvicorn.Config(
        app,
        host=settings.gateway_host,
        port=settings.gateway_port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        limit_concurrency=10_000,
        backlog=2048,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)
    server.gateway = app
    server.run()
    if not server.started or app.services.failed is not None:
        log.error("the gateway ends; it must be started again", reason=str(app.services.failed))
        sys.exit(1)
