"""A TCP proxy that tests control: it passes bytes on, or does what networks do instead.

Each proxy runs in a thread of its own, so that a busy test does not slow the line down. Its port is chosen by the kernel and
stays; where it forwards to is asked anew for each connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from ops.stack.errors import StackError

CHUNK = 64 * 1024
CONNECT_TIME_OUT = 5.0
CONTROL_TIME_OUT = 10.0


class Proxy:
    """`upstream` gives (host, port). Methods may be called from any thread; they return once the change is in force."""

    def __init__(self, upstream: Callable[[], tuple[str, int]]) -> None:
        self._upstream = upstream
        self._refusing = False
        self._delay = 0.0
        self._lines: set[_Line] = set()
        #: Connections made, and bytes passed on, so far.
        self.accepted = 0
        self.passed = 0
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def heal(self) -> None:
        """Pass everything on at once; what a black hole held back arrives now."""
        self._set(refusing=False, delay=0.0, flowing=True)

    def refuse(self) -> None:
        """Reset what is open, and each new connection."""
        self._set(refusing=True, delay=0.0, flowing=True)
        self._do(self._reset_all())

    def swallow(self) -> None:
        """Keep connections open and accept new ones, but let no byte through: a black hole."""
        self._set(refusing=False, delay=0.0, flowing=False)

    def delay(self, seconds: float) -> None:
        """Let each piece wait so long."""
        self._set(refusing=False, delay=seconds, flowing=True)

    def cut(self) -> int:
        """Cut every open connection in the middle of the next piece that it carries; returns how many that will be."""

        async def mark() -> int:
            for line in self._lines:
                line.doomed = True
            return len(self._lines)

        return self._do(mark())

    def close(self) -> None:
        """End the proxy."""

        async def end() -> None:
            self._server.close()
            await self._reset_all()

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONTROL_TIME_OUT)

    def _set(self, *, refusing: bool, delay: float, flowing: bool) -> None:
        async def change() -> None:
            self._refusing, self._delay = refusing, delay
            if flowing:
                self._flowing.set()
            else:
                self._flowing.clear()

        self._do(change())

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        done: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(CONTROL_TIME_OUT)

    async def _reset_all(self) -> None:
        for line in list(self._lines):
            line.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        line = _Line([writer])
        self._lines.add(line)
        try:
            if self._refusing:
                return
            await self._flowing.wait()
            host, port = self._upstream()
            async with asyncio.timeout(CONNECT_TIME_OUT):
                there_reader, there_writer = await asyncio.open_connection(host, port)
            line.writers.append(there_writer)
            ways = [self._pump(line, reader, there_writer), self._pump(line, there_reader, writer)]
            tasks = [asyncio.create_task(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        except (OSError, TimeoutError, StackError):
            return
        finally:
            self._lines.discard(line)
            line.reset()

    async def _pump(self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._flowing.wait()
                if line.doomed:
                    data = data[: len(data) // 2]
                writer.write(data)
                await writer.drain()
                self.passed += len(data)
                if line.doomed:
                    return


class _Line:
    """One connection through the proxy: both its ends."""

    def __init__(self, writers: list[asyncio.StreamWriter]) -> None:
        self.writers = writers
        self.doomed = False

    def reset(self) -> None:
        """End it as a crashed peer would: no orderly close."""
        for writer in self.writers:
            found = writer.get_extra_info("socket")
            if found is not None and not self.doomed:
                with contextlib.suppress(OSError):
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # A doomed line closes in order, so that its half piece arrives first.
            if self.doomed:
                writer.close()
            else:
                writer.transport.abort()
