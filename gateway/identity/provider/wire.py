"""Calls to the provider: bounded in time, size and number, no redirect followed, nothing read that was not asked for."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from gateway.identity.provider.failures import Away

CONNECT_SECONDS = 2.0
TOTAL_SECONDS = 5.0
MAX_ANSWER = 256 * 1024
#: Calls at a time; others wait up to 2 s for their turn.
MAX_CALLS = 16


class Wire:
    """Certificates are checked against the system's authorities. Proxies of the environment are not used."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
            # A kept connection may be gone at the moment a code is sent, and a code cannot be sent twice.
            limits=httpx.Limits(max_connections=MAX_CALLS, max_keepalive_connections=0),
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(),
            # No compression: a small answer could unpack to a large one.
            headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "athena-budget"},
        )

    async def stop(self) -> None:
        await self._client.aclose()

    async def document(self, url: str) -> dict[str, Any]:
        """The JSON object at `url`. Raises Away."""
        status, found = await self._json("GET", url)
        if status != httpx.codes.OK:
            raise Away("status", f"{url} answered {status}")
        return found

    async def post(
        self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None
    ) -> tuple[int, dict[str, Any]]:
        """Status (200 or 4xx but 429) and JSON object of the answer to a form; `basic` is a login. Raises Away."""
        status, found = await self._json("POST", url, data=form, auth=basic)
        if status != httpx.codes.OK and (not 400 <= status < 500 or status == httpx.codes.TOO_MANY_REQUESTS):
            raise Away("status", f"{url} answered {status}")
        return status, found

    async def _json(self, method: str, url: str, **more: Any) -> tuple[int, dict[str, Any]]:
        try:
            async with asyncio.timeout(TOTAL_SECONDS), self._client.stream(method, url, **more) as answer:
                if answer.is_redirect or answer.is_server_error:
                    return answer.status_code, {}
                body = await _read(answer)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise Away("slow", f"{url} did not answer in time ({type(error).__name__})") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise Away("unreachable", f"{url}: {type(error).__name__}: {error}"[:300]) from None
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise Away("malformed", f"{url} answered {answer.status_code} with what is no JSON object")
        return answer.status_code, found


async def _read(answer: httpx.Response) -> bytes:
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise Away("malformed", f"{answer.url} answered compressed, which was not asked for")
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise Away("too-large", f"{answer.url} answered more than {MAX_ANSWER // 1024} KiB")
    return bytes(body)
