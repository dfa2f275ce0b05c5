"""Audit records as the worker writes them, without a worker: whole lives of requests, chained and committed to."""

from __future__ import annotations

import uuid
from typing import Any

import orjson

from schemas.audit import GENESIS, chain_hash, commitments, content_hash
from schemas.base import SCHEMA_VERSION, rfc3339
from schemas.state import LevelState, RequestState, Status, Vote
from schemas.view import request_view

START = 1_780_000_000_000
SPACE = uuid.UUID(int=7)


class Chain:
    """One audit chain; `add` gives the next record."""

    def __init__(self, entity: str) -> None:
        self.entity = entity
        self.seq = 0
        self.prev = GENESIS

    def add(self, *, at: int, personal: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
        self.seq += 1
        personal = personal or {}
        salt = uuid.uuid5(SPACE, f"{self.entity}{self.seq}").hex if personal else None
        event = fields.pop("event", None)
        request = fields.pop("request", None)
        extra = {"entity_after": fields.pop("entity_after")} if "entity_after" in fields else {}
        chained = {
            "schema_version": SCHEMA_VERSION,
            "entity": self.entity,
            "seq": self.seq,
            "request_id": None,
            "version": None,
            "command_id": str(uuid.uuid5(SPACE, f"command {self.entity} {self.seq}")),
            "actor_id": "system",
            "actor_roles": [],
            "action": "put",
            "level": None,
            "at": rfc3339(at),
            "outcome": "accepted",
            "code": None,
            "status_before": None,
            "status_after": None,
            "correlation_id": f"correlation-{self.seq}",
            "content": None if event is None else content_hash(event),
            "commitments": commitments(salt, personal),
            "prev_hash": self.prev,
        } | fields
        self.prev = chain_hash(chained)
        return (
            chained
            | {
                "hash": self.prev,
                "event": event,
                "personal": personal,
                "salt": salt,
                "request": request,
            }
            | extra
        )


class Story:
    """One request's life. Every method is a command; `records` is what the audit stream gets."""

    def __init__(self, number: int, levels: tuple[str, ...] = ("L1", "L2", "L3")) -> None:
        self.id = str(uuid.uuid5(SPACE, f"request {number}"))
        self.chain = Chain(f"request:{self.id}")
        self.at = START + number
        self.records: list[dict[str, Any]] = []
        self.levels = levels
        self.state: RequestState | None = None

    def submit(self) -> Story:
        levels = tuple(
            LevelState(level, 1, "any", (f"{level.lower()}.a", f"{level.lower()}.b"))  # type: ignore[arg-type]
            for level in self.levels
        )
        self.state = RequestState(
            id=self.id, version=1, status=Status.PENDING_L1, requester_id="sam.sales", department_id="emea-sales", region="emea",
            category_id="hardware", reason_id="hardware-general", title="Laptop for the fair " + "x" * 40,
            description="y" * 300, amount_minor=6_000_000, currency="EUR", base_minor=6_510_000, base_currency="USD",
            fx_rate="1.0850", supersedes=None, rules_version=1, rule_id="anything-large", window_ms=86_400_000, levels=levels,
            open_index=0, changed_version=1, created_at=self.at, updated_at=self.at,
        )  # fmt: skip
        event = {"type": "Submitted", "version": 1, "at": self.at, "actor_id": "sam.sales", "category_id": "hardware",
                 "levels": [{"level": one.level, "approvers": list(one.approvers)} for one in levels],
                 "amount_minor": 6_000_000, "currency": "EUR", "rules_version": 1, "rule_id": "anything-large"}  # fmt: skip
        personal = {
            "title": self.state.title or "",
            "description": self.state.description or "",
            "source_address": "10.0.0.1",
        }
        self._record("submit", "sam.sales", None, None, event, personal)
        return self

    def approve(self, approver: str | None = None) -> Story:
        return self._vote("approve", approver)

    def reject(self, approver: str | None = None) -> Story:
        return self._vote("reject", approver, "Too much.")

    def _vote(self, decision: str, approver: str | None, comment: str | None = None) -> Story:
        assert self.state is not None and self.state.open_index is not None
        self.at += 1000
        index = self.state.open_index
        level = self.state.levels[index]
        approver = approver or level.approvers[0]
        version = self.state.version + 1
        vote = Vote(approver, decision, self.at, version, comment)
        levels = list(self.state.levels)
        levels[index] = level._replace(votes=(*level.votes, vote))
        last = index + 1 == len(levels)
        if decision == "reject":
            status, open_index = Status.REJECTED, None
        elif last:
            status, open_index = Status.APPROVED, None
        else:
            status, open_index = Status(f"pending_{levels[index + 1].level.lower()}"), index + 1
        self._next(version, levels=tuple(levels), status=status, open_index=open_index)
        event = {
            "type": decision.title() + "d",
            "version": version,
            "at": self.at,
            "actor_id": approver,
            "level": level.level,
        }
        self._record(decision, approver, level.level, level.level, event, {"comment": comment} if comment else {})
        return self

    def rollback(self) -> Story:
        assert self.state is not None and self.state.newest_decision is not None
        self.at += 1000
        level_name, vote = self.state.newest_decision
        index = self.levels.index(level_name)
        levels = list(self.state.levels)
        levels[index] = levels[index]._replace(votes=tuple(v for v in levels[index].votes if v != vote))
        version = self.state.version + 1
        self._next(version, levels=tuple(levels), status=Status(f"pending_{level_name.lower()}"), open_index=index)
        event = {
            "type": "RolledBack",
            "version": version,
            "at": self.at,
            "actor_id": vote.approver_id,
            "level": level_name,
        }
        self._record("rollback", vote.approver_id, level_name, level_name, event, {"comment": "A mistake."})
        return self

    def reassign(self, level_name: str, approvers: tuple[str, ...]) -> Story:
        assert self.state is not None
        self.at += 1000
        levels = tuple(
            one._replace(approvers=approvers, votes=tuple(v for v in one.votes if v.approver_id in approvers))
            if one.level == level_name else one
            for one in self.state.levels
        )  # fmt: skip
        version = self.state.version + 1
        self._next(version, levels=levels)
        event = {"type": "Reassigned", "version": version, "at": self.at, "actor_id": "admin", "level": level_name}
        self._record("reassign", "admin", level_name, level_name, event, {})
        return self

    def comment(self, text: str = "When?") -> Story:
        assert self.state is not None
        self.at += 1000
        version = self.state.version + 1
        self._next(version)
        event = {"type": "Commented", "version": version, "at": self.at, "actor_id": "sam.sales"}
        self._record("comment", "sam.sales", None, None, event, {"comment": text})
        return self

    def close(self) -> Story:
        assert self.state is not None
        self.at += 86_400_000
        version = self.state.version + 1
        word, status = (
            ("finalize", Status.FINALIZED) if self.state.status is Status.APPROVED else ("close", Status.CLOSED)
        )
        self._next(version, status=status)
        event = {
            "type": "WindowClosed",
            "version": version,
            "at": self.at,
            "actor_id": "system",
            "status": status.value,
        }
        self._record(word, "system", None, None, event, {})
        return self

    def refused(self, code: str = "not-an-approver") -> Story:
        assert self.state is not None
        self.at += 1000
        status = self.state.status.value
        self.records.append(
            self.chain.add(
                at=self.at, request_id=self.id, actor_id="l1.hq", actor_roles=["manager"], action="approve", outcome="refused",
                code=code, status_before=status, status_after=status, personal={"comment": "Fine."},
            )
        )  # fmt: skip
        return self

    def _next(self, version: int, **changes: Any) -> None:
        assert self.state is not None
        self.state = self.state._replace(version=version, updated_at=self.at, changed_version=version, **changes)

    def _record(
        self, action: str, actor: str, level: str | None, _: str | None, event: dict[str, Any], personal: dict[str, str]
    ) -> None:
        assert self.state is not None
        before = self.records[-1]["status_after"] if self.records else None
        self.records.append(
            self.chain.add(
                at=self.at, request_id=self.id, version=self.state.version, actor_id=actor, actor_roles=["manager"], action=action,
                level=level, status_before=before, status_after=self.state.status.value, event=event, personal=personal,
                request=request_view(self.state),
            )
        )  # fmt: skip


def reference(kind: str, id_: str, document: dict[str, Any] | None, chain: Chain, at: int = START) -> dict[str, Any]:
    """One accepted change of reference data."""
    after = {"kind": kind, "id": id_, "removed": True} if document is None else {"kind": kind, "id": id_, **document}
    return chain.add(
        at=at, actor_id="admin", actor_roles=["admin"], action="remove" if document is None else "put",
        version=None if document is None else document["version"], event={"type": "EntityPut"}, entity_after=after,
    )  # fmt: skip


def key_of(record: dict[str, Any]) -> bytes:
    """The record's key on the topic."""
    return str(record["request_id"] or record["entity"]).encode()


def value_of(record: dict[str, Any]) -> bytes:
    """The record's bytes on the topic."""
    return orjson.dumps(record)
