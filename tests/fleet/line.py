"""A phone's line: it drops calls before, while and after they are answered, as the plan says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any, Literal

import aiohttp
import orjson

#: What becomes of a call: nothing bad; it never leaves the phone; the line breaks in the middle of its body; after the body, at
#: some moment before the answer; after the gateway has answered, whose bytes nobody reads.
Fate = Literal["good", "unsent", "torn", "cut", "unheard"]
CALL_TIME_OUT = 40.0


class LineBroken(Exception):
    """No answer was heard. What the gateway did is not known."""


class Line:
    """One gateway, over connections that are used for one call each. `calls` counts those that were begun."""

    def __init__(self, base: str, trust: ssl.SSLContext | Literal[True] = True) -> None:
        self._base = base
        self._trust = trust
        self._session: aiohttp.ClientSession | None = None
        self.calls: dict[Fate, int] = {}

    async def __aenter__(self) -> Line:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True, ssl=self._trust),
            timeout=aiohttp.ClientTimeout(total=CALL_TIME_OUT),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def call(
        self, method: str, path: str, token: str | None, body: Any = None, *, fate: Fate = "good", delay: float = 0.0,
        headers: dict[str, str] | None = None, **params: Any,
    ) -> tuple[int, Any]:  # fmt: skip
        """Status and JSON of the answer. `delay`: seconds until the line is cut. Raises LineBroken."""
        self.calls[fate] = self.calls.get(fate, 0) + 1
        if fate == "unsent":
            raise LineBroken
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        data: Any = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = orjson.dumps(body)
            if fate == "torn":
                headers["Content-Length"] = str(len(data))
                data = _torn(data)
        try:
            async with asyncio.timeout(delay if fate == "cut" else None):
                return await self._send(method, path, headers, data, params, fate)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise LineBroken from error

    async def _send(
        self, method: str, path: str, headers: dict[str, str], data: Any, params: dict[str, Any], fate: Fate
    ) -> tuple[int, Any]:
        assert self._session is not None
        async with self._session.request(
            method, f"{self._base}/api/v1{path}", data=data, headers=headers, params=params
        ) as answer:
            if fate == "unheard":
                raise OSError("the line broke before the answer was read")
            return answer.status, orjson.loads(await answer.read() or b"null")


async def _torn(data: bytes) -> AsyncIterator[bytes]:
    yield data[: len(data) // 2]
    await asyncio.sleep(0.01)
    raise OSError("the line broke in the middle of the body")
