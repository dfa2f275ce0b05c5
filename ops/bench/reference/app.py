"""The smallest thing that does what an approval needs: FastAPI and asyncpg; a POST is one transaction.

It authenticates nobody, checks no rules file, chains no audit and cannot scale out: the floor price of the workload, for
`make bench-check`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import asyncpg
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

SCHEMA = """
CREATE TABLE requests (
  id text PRIMARY KEY, status text NOT NULL, version int NOT NULL, category_id text NOT NULL, amount numeric(14, 2) NOT NULL,
  currency text NOT NULL, requester text NOT NULL, title text NOT NULL, description text NOT NULL,
  approvers text[] NOT NULL DEFAULT '{}', updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE audit (
  id bigserial PRIMARY KEY, request_id text NOT NULL, action text NOT NULL, actor text NOT NULL, detail text NOT NULL,
  at timestamptz NOT NULL DEFAULT now());
CREATE INDEX audit_of_request ON audit (request_id);
CREATE TABLE notifications (
  id bigserial PRIMARY KEY, request_id text NOT NULL, receiver text NOT NULL, kind text NOT NULL,
  at timestamptz NOT NULL DEFAULT now());
"""
_AUDIT = "INSERT INTO audit (request_id, action, actor, detail) VALUES ($1, $2, $3, $4)"
_NOTIFY = "INSERT INTO notifications (request_id, receiver, kind) VALUES ($1, $2, $3)"
_SUBMIT = """INSERT INTO requests (id, status, version, category_id, amount, currency, requester, title, description)
VALUES ($1, 'pending_l1', 1, $2, $3, $4, $5, $6, $7)"""
_APPROVE = """UPDATE requests SET status = $3, version = version + 1, approvers = approvers || $4::text, updated_at = now()
WHERE id = $1 AND version = $2 AND status = $5 AND requester <> $4 AND NOT ($4 = ANY (approvers)) RETURNING requester"""
STATUSES = ("pending_l1", "pending_l2", "pending_l3", "approved")


class Submission(BaseModel):
    """The body of the product's POST /requests, and what its token would say."""

    id: str
    requester: str
    category_id: str
    reason_id: str
    title: str
    description: str
    amount: Decimal
    currency: str


class Approval(BaseModel):
    """`level` 1 to 3."""

    level: int
    approver: str
    expected_version: int


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    app.state.pool = await asyncpg.create_pool(os.environ["BENCH_REFERENCE_DSN"], min_size=16, max_size=16)
    yield
    await app.state.pool.close()


app = FastAPI(lifespan=_life)


@app.post("/requests")
async def submit(body: Submission, call: Request) -> dict[str, Any]:
    """One request, two audit rows, one notification."""
    async with call.app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            _SUBMIT, body.id, body.category_id, body.amount, body.currency, body.requester, body.title, body.description
        )
        await connection.execute(_AUDIT, body.id, "submit", body.requester, body.description)
        await connection.execute(_AUDIT, body.id, "route", "system", "L1, L2, L3")
        await connection.execute(_NOTIFY, body.id, "L1", "level-opened")
    return {"id": body.id, "status": STATUSES[0], "version": 1}


@app.post("/approvals/{request_id}/approve")
async def approve(request_id: str, body: Approval, call: Request) -> dict[str, Any]:
    """The next level's approval: the request, one audit row, one notification."""
    status, before = STATUSES[body.level], STATUSES[body.level - 1]
    async with call.app.state.pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(_APPROVE, request_id, body.expected_version, status, body.approver, before)
        if row is None:
            raise HTTPException(409, "stale")
        await connection.execute(_AUDIT, request_id, "approve", body.approver, status)
        receiver, kind = (f"L{body.level + 1}", "level-opened") if body.level < 3 else (row["requester"], "approved")
        await connection.execute(_NOTIFY, request_id, receiver, kind)
    return {"id": request_id, "status": status, "version": body.expected_version + 1}
