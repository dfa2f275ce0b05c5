"""Listens for HTTPS: a connection is counted when it is accepted, and its handshake has as long as a head has.

uvloop's own server tells of a connection after the handshake only: who never begins one would be held, and counted by nobody.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

import structlog

from gateway import metrics
from gateway.http.addresses import UNKNOWN, normal
from gateway.server.connection import Connection
from gateway.server.door import Door, Verdict

log = structlog.get_logger(__name__)

BACKLOG = 2048
#: Connections taken at once, before those that are open have their turn.
_AT_ONCE = 64
#: How long nothing is accepted after the kernel had no room for one more.
_PAUSE_SECONDS = 1.0
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Listener:
    """Sockets that accept, and the connections whose handshake is under way. Who is beyond a limit is closed without a word:
    to be heard it would need the handshake that it is refused."""

    def __init__(
        self,
        door: Door,
        context: ssl.SSLContext,
        make: Callable[[asyncio.AbstractEventLoop, str, Verdict], Connection],
    ) -> None:
        self._door = door
        self._context = context
        self._make = make
        self._sockets: list[socket.socket] = []
        self._arriving: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> None:
        """Accept on every address that the host's name has.

        Raises:
            OSError: one is taken, or none of this machine's.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, address in dict.fromkeys((one[0], one[4]) for one in found):
                if family == socket.AF_INET6 and not socket.has_ipv6:
                    continue
                listening = socket.create_server(address, family=family, backlog=BACKLOG)
                self._sockets.append(listening)
                listening.setblocking(False)
        except OSError:
            self.close()
            raise
        for listening in self._sockets:
            loop.add_reader(listening, self._accept, loop, listening)

    def close(self) -> None:
        """Accept no more, and end the handshakes that are under way."""
        for listening in self._sockets:
            if listening.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(listening)
                listening.close()
        for task in self._arriving:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait for those."""
        await asyncio.gather(*self._arriving, return_exceptions=True)

    def _accept(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                line, peer = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    log.warning("no room for another connection", error=str(error))
                    loop.remove_reader(listening)
                    loop.call_later(_PAUSE_SECONDS, self._resume, loop, listening)
                    return
                continue  # it was gone before we had it
            self._enter(loop, line, normal(str(peer[0])) or UNKNOWN)

    def _resume(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            loop.add_reader(listening, self._accept, loop, listening)

    def _enter(self, loop: asyncio.AbstractEventLoop, line: socket.socket, address: str) -> None:
        verdict = self._door.enter(address)
        if verdict in (Verdict.TOO_MANY, Verdict.SHUT):
            metrics.CONNECTIONS_REFUSED.labels(verdict.value).inc()
            line.close()
            self._door.leave(address)
            return
        line.setblocking(False)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(self._shake_hands(loop, line, address, verdict))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _shake_hands(
        self, loop: asyncio.AbstractEventLoop, line: socket.socket, address: str, verdict: Verdict
    ) -> None:
        connection = self._make(loop, address, verdict)
        try:
            await loop.connect_accepted_socket(
                lambda: connection, line, ssl=self._context, ssl_handshake_timeout=self._door.head_seconds
            )
        except OSError:  # an ssl.SSLError, too, and one that took too long
            metrics.CONNECTIONS_REFUSED.labels("handshake").inc()
        finally:
            # One that was made leaves by itself when it ends.
            if not connection.entered:
                line.close()
                self._door.leave(address)
