"""The product's workload, put to the reference: same bodies, same people, same order."""

from __future__ import annotations

import time
import uuid
from typing import Any

import aiohttp

from ops.bench.load import CALL_TIME_OUT, Measured, submission
from ops.bench.reference.app import STATUSES


class ReferenceLoad:
    """One load generator on one reference server; works as `ops.bench.load.Load` in its loops."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make ready to connect."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=CALL_TIME_OUT)
        )

    async def close(self) -> None:
        """End all connections."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert self._session is not None
        async with self._session.post(self._base + path, json=body) as answer:
            if answer.status != 200:
                raise RuntimeError(f"HTTP {answer.status} to {path}: {(await answer.text())[:200]}")
            found: dict[str, Any] = await answer.json()
            return found

    async def whole(self, number: int, due: float, measured: Measured) -> None:
        """Submit, L1, L2, L3; as `Load.whole`."""
        request = await self._post(
            "/requests", {"id": str(uuid.uuid4()), "requester": "sam.sales", **submission(number)}
        )
        measured.submit_ms.append((time.perf_counter() - due) * 1000)
        for level in (1, 2, 3):
            began = time.perf_counter()
            body = {"level": level, "approver": f"l{level}", "expected_version": request["version"]}
            request = await self._post(f"/approvals/{request['id']}/approve", body)
            if request["status"] != STATUSES[level]:
                raise RuntimeError(f"expected {STATUSES[level]}, found {request['status']}")
            measured.approve_ms.append((time.perf_counter() - began) * 1000)

    async def read_side(self, measured: Measured, sample: int) -> None:
        """Its answer follows the commit: there is nothing to wait for."""
