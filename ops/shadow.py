"""A second set of the read side's derived tables, filled out of sight and put in the first one's place in one transaction."""

from __future__ import annotations

import re
from collections.abc import Sequence

import asyncpg

from agents.projector.store import STATEMENT

#: Schemas whose every table is derived from the audit stream alone.
DERIVED = ("requests", "catalog")
#: Where the new tables are filled, and where the old ones wait to be dropped. Left over by a crash, both go at the next run.
NEW, OLD = "rebuild_new_", "rebuild_old_"
APPLIED = f"{NEW}audit.applied_offsets"
DDL_TIME_OUT = 600.0

_TABLES = """
SELECT n.nspname AS schema, c.relname AS name, c.reloptions AS options
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY($1) AND c.relkind = 'r' ORDER BY 1, 2"""
_CONSTRAINTS = """
SELECT conname AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint
WHERE conrelid = $1::regclass AND contype IN ('p', 'u', 'x')"""
_INDEXES = """
SELECT pg_get_indexdef(i.indexrelid) AS definition FROM pg_index i
WHERE i.indrelid = $1::regclass AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)"""
_GRANTS = """
SELECT g.privilege_type AS privilege, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END AS role
FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) g WHERE c.oid = $1::regclass AND g.grantee <> c.relowner"""

Table = tuple[str, str]


async def drop(connection: asyncpg.Connection) -> None:
    """Remove what an earlier run left, and what the swap put aside."""
    for schema in (*DERIVED, "audit"):
        for prefix in (NEW, OLD):
            await connection.execute(f"DROP SCHEMA IF EXISTS {prefix}{schema} CASCADE", timeout=DDL_TIME_OUT)


async def create(connection: asyncpg.Connection, partitions: Sequence[int]) -> list[Table]:
    """Empty tables like those that serve: same columns, keys, indexes, options and grants. Returns (schema, name)s."""
    rows = await connection.fetch(_TABLES, list(DERIVED))
    for schema in (*DERIVED, "audit"):
        await connection.execute(f"CREATE SCHEMA {NEW}{schema}")
    for row in rows:
        await _create_one(connection, row["schema"], row["name"], row["options"] or ())
    await connection.execute(f"CREATE TABLE {APPLIED} (LIKE audit.applied_offsets INCLUDING ALL)")
    await connection.execute(f"INSERT INTO {APPLIED} SELECT unnest($1::int[]), 0", list(partitions))
    return [(row["schema"], row["name"]) for row in rows]


async def _create_one(connection: asyncpg.Connection, schema: str, name: str, options: Sequence[str]) -> None:
    live, new = f"{schema}.{name}", f"{NEW}{schema}.{name}"
    await connection.execute(f"CREATE TABLE {new} (LIKE {live} INCLUDING ALL EXCLUDING INDEXES)")
    if options:
        await connection.execute(f"ALTER TABLE {new} SET ({', '.join(options)})")
    # Keys and indexes one by one: LIKE would give them names of its own, and a later migration asks for them by name.
    for constraint in await connection.fetch(_CONSTRAINTS, live):
        await connection.execute(f"ALTER TABLE {new} ADD CONSTRAINT {constraint['name']} {constraint['definition']}")
    for index in await connection.fetch(_INDEXES, live):
        await connection.execute(index["definition"].replace(f" ON {live} ", f" ON {new} ", 1))
    for grant in await connection.fetch(_GRANTS, live):
        await connection.execute(f"GRANT {grant['privilege']} ON {new} TO {grant['role']}")


def statement(tables: Sequence[Table]) -> str:
    """The projector's own statement, writing to the new tables. Audit records, which are facts, are compared, as ever."""
    names = "|".join(re.escape(f"{schema}.{name}") for schema, name in [*tables, ("audit", "applied_offsets")])
    return re.sub(rf"\b({names})\b", rf"{NEW}\1", STATEMENT)


async def analyze(connection: asyncpg.Connection, tables: Sequence[Table]) -> None:
    """Statistics first: the readers' plans must be good from the first read."""
    for schema, name in tables:
        await connection.execute(f"ANALYZE {NEW}{schema}.{name}", timeout=DDL_TIME_OUT)


async def swap(connection: asyncpg.Connection, tables: Sequence[Table]) -> None:
    """Put the new tables in the place of the old, with their offsets. Within a transaction that holds
    `audit.applied_offsets`, when the new ones are at least as far as the old."""
    for schema in DERIVED:
        await connection.execute(f"CREATE SCHEMA {OLD}{schema}")
    live = ", ".join(f"{schema}.{name}" for schema, name in tables)
    await connection.execute(f"LOCK TABLE {live} IN ACCESS EXCLUSIVE MODE")
    for schema, name in tables:
        await connection.execute(f"ALTER TABLE {schema}.{name} SET SCHEMA {OLD}{schema}")
        await connection.execute(f"ALTER TABLE {NEW}{schema}.{name} SET SCHEMA {schema}")
    await connection.execute(
        "INSERT INTO audit.applied_offsets SELECT partition, next_offset FROM "  # noqa: S608 - constants
        f"{APPLIED} ON CONFLICT (partition) DO UPDATE SET next_offset = excluded.next_offset"
    )
