"""What each PostgreSQL role may do: the whole table, held against what the database says."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tests.stack import Stack

READ, WRITE = "SELECT", "DELETE INSERT SELECT UPDATE"
#: Role -> table -> privileges. What is not here, a role has not: neither on a table that a later migration makes.
TABLES = {
    "athena_gateway": {
        "requests.requests": READ,
        "requests.participants": READ,
        "requests.history": READ,
        "requests.votes": READ,
        "requests.commands": READ,
        "catalog.entities": READ,
        "audit.records": READ,
        "audit.personal": READ,
        "audit.applied_offsets": READ,
        "audit.sync_marks": READ,
        "identity.credentials": "INSERT SELECT UPDATE",
        "identity.invitations": WRITE,
        "identity.known_places": WRITE,
        "identity.provider_links": "INSERT SELECT",
        "identity.provider_sign_ins": "DELETE INSERT SELECT",
        "identity.turns": WRITE,
        "identity.sessions": WRITE,
        "identity.refresh_tokens": "INSERT SELECT UPDATE",
        "gateway.promised_commands": "DELETE INSERT SELECT",
        "gateway.sync_ops": "DELETE INSERT SELECT",
    },
    "athena_projector": {
        "requests.requests": WRITE,
        "requests.participants": WRITE,
        "requests.history": WRITE,
        "requests.votes": WRITE,
        "requests.commands": WRITE,
        "catalog.entities": WRITE,
        "audit.records": "INSERT SELECT",
        "audit.personal": "INSERT SELECT",
        "audit.applied_offsets": "INSERT SELECT UPDATE",
        "audit.sync_marks": "DELETE INSERT SELECT",
    },
    "athena_notifier": {},
}
SCHEMAS = {
    "athena_gateway": {"audit", "catalog", "gateway", "identity", "requests"},
    "athena_projector": {"audit", "catalog", "requests"},
    "athena_notifier": set(),
}
_TABLES = """
SELECT n.nspname || '.' || c.relname AS name, string_agg(p, ' ' ORDER BY p) AS may
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg_toast%' AND has_table_privilege($1, c.oid, p)
GROUP BY 1"""
_SCHEMAS = """
SELECT nspname, has_schema_privilege($1, oid, 'CREATE') AS makes FROM pg_namespace
WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public') AND has_schema_privilege($1, oid, 'USAGE')"""
_ATTRIBUTES = """
SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
  OR has_database_privilege($1, current_database(), 'CREATE') OR has_database_privilege($1, current_database(), 'TEMP')
  OR has_schema_privilege($1, 'public', 'CREATE')
  OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid)
FROM pg_roles r WHERE rolname = $1"""


async def _found(url: str, role: str) -> tuple[dict[str, str], dict[str, bool], bool]:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        tables = {row["name"]: row["may"] for row in await connection.fetch(_TABLES, role)}
        schemas = {row["nspname"]: row["makes"] for row in await connection.fetch(_SCHEMAS, role)}
        return tables, schemas, await connection.fetchval(_ATTRIBUTES, role)
    finally:
        await connection.close()


@pytest.mark.parametrize("role", TABLES)
def test_a_role_may_what_its_service_needs_and_no_more(stack: Stack, role: str) -> None:
    """Otherwise who breaks into one process could rewrite the audit log, or read everybody's password hashes."""
    tables, schemas, powerful = asyncio.run(_found(stack.postgres, role))
    assert tables == TABLES[role]
    assert set(schemas) == SCHEMAS[role]
    assert not any(schemas.values()), f"{role} can make tables in {schemas}"
    assert not powerful, f"{role} has rights beyond its tables"
