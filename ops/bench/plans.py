"""What a statement of the gateway did in PostgreSQL: EXPLAIN ANALYZE of the very statement, judged by the rows that it touched."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from gateway.sql.database import PLANNING

#: Rows looked at for one that is answered. A page of several lists, or one that leaves a few out, stays below.
MOST_FOR_ONE = 10
#: More than these are fine too where a tenth of the table needed about as many.
MOST_GROWTH = 1.5
#: Relations so small that reading them whole is what an index would do.
SMALL = frozenset({"applied_offsets", "sync_marks"})


@dataclass(frozen=True, slots=True)
class Plan:
    """`touched`: rows that all scans looked at; `whole`: tables that were read whole; `indexes` in the order of the plan."""

    ms: float
    rows: int
    touched: int
    whole: tuple[str, ...]
    indexes: tuple[str, ...]

    def is_index_walk(self, limit: int, before: Plan) -> bool:
        """Whether it read about what it answered, whatever the table's length; `before` is the plan with a tenth of the rows."""
        return not self.whole and self.touched <= max(MOST_FOR_ONE * limit, MOST_GROWTH * before.touched)


def read(explained: Mapping[str, Any]) -> Plan:
    """From `EXPLAIN (ANALYZE, FORMAT JSON)`, its one element."""
    root = explained["Plan"]
    scans = [node for node in _nodes(root) if "Relation Name" in node or "Index Name" in node]
    whole = {node["Relation Name"] for node in scans if node["Node Type"] == "Seq Scan"} - SMALL
    indexes = dict.fromkeys(node["Index Name"] for node in scans if "Index Name" in node)
    return Plan(
        ms=round(float(explained["Execution Time"]), 2),
        rows=int(root["Actual Rows"]),
        touched=sum(_looked_at(node) for node in scans if node["Node Type"] != "Bitmap Heap Scan"),
        whole=tuple(sorted(whole)),
        indexes=tuple(indexes),
    )


def _looked_at(node: Mapping[str, Any]) -> int:
    dropped = sum(node.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck", "Join Filter"))
    return int((node["Actual Rows"] + dropped) * node["Actual Loops"])


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


class Explaining:
    """Stands in for `gateway.sql.database.Database`: answers as it does, planned as there, and keeps the plan of each statement.

    A prepared statement is planned for its values at first, and may be planned once for all of them later: both are tried, and the
    one that looks at more rows is kept.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.plans: list[Plan] = []

    @property
    def last(self) -> Plan | None:
        """Of the last statement."""
        return self.plans[-1] if self.plans else None

    async def rows(self, statement: str, *values: Any) -> list[Any]:
        """As the original."""
        async with self._connection.transaction():
            for name, value in PLANNING.items():
                await self._connection.execute(f"SET LOCAL {name} = {value}")
            explained = [await self._connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *values)]
            await self._connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await self._connection.execute(f"PREPARE bench AS {statement}")
            given = f"({', '.join(map(literal, values))})" if values else ""
            explained.append(await self._connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE bench{given}"))
            await self._connection.execute("DEALLOCATE bench")
        plans = (read(json.loads(one)[0]) for one in explained)
        self.plans.append(max(plans, key=lambda plan: (len(plan.whole), plan.touched)))
        return list(await self._connection.fetch(statement, *values))

    async def row(self, statement: str, *values: Any) -> Any:
        """As the original."""
        found = await self.rows(statement, *values)
        return found[0] if found else None

    async def value(self, statement: str, *values: Any) -> Any:
        """As the original."""
        found = await self.row(statement, *values)
        return None if found is None else found[0]


def literal(value: Any) -> str:
    """A value as SQL text, for a parameter of any type."""
    if value is None:
        return "NULL"
    if isinstance(value, list | tuple):
        inner = ",".join('"' + str(one).replace("\\", "\\\\").replace('"', '\\"') + '"' for one in value)
        return literal("{" + inner + "}")
    return "'" + str(value).replace("'", "''") + "'"
