"""The demo organisation's data files, and the specifications generated from the models."""

from __future__ import annotations

from collections import Counter

from ops import asyncapi, seed
from ops.postgres.migrate import MigrationError, load
from rules.check import Reference, check
from rules.file import parse_rules
from schemas.catalog import Catalog
from schemas.reference import ENTITIES


def test_it_is_what_the_manual_says() -> None:
    """Else the scripts and logins of the manual would not work."""
    commands = seed.commands(seed.organisation())
    kinds = Counter(command.body.kind for command in commands)
    assert kinds == {"department": 3, "user": 12, "category": 5, "reason": 5, "assignment": 35, "rules": 1}
    users = {command.entity_id: command.body for command in commands if command.body.kind == "user"}
    assert all(body.email == f"{id_}@athena.test" for id_, body in users.items())
    assert commands[-1].entity_id == "rules"


def test_a_repeat_has_the_same_ids() -> None:
    """Else seeding twice would count as two changes."""
    first, second = (seed.commands(seed.organisation()) for _ in range(2))
    assert [command.command_id for command in first] == [command.command_id for command in second]
    assert len({command.command_id for command in first}) == len(first)


def test_its_rules_have_no_errors() -> None:
    """Else a fresh stack would have no rules."""
    catalog = Catalog()
    for command in seed.commands(seed.organisation())[:-1]:
        document = command.body.model_dump() | {"id": command.entity_id, "version": 1}
        catalog.put(ENTITIES.validate_python(document))
    found = check(parse_rules(seed.rules_text()), Reference.of(catalog))
    assert [finding for finding in found if finding.severity == "error"] == []


def test_the_asyncapi_document_is_current() -> None:
    """Else integrators would build against streams that are no more."""
    assert asyncapi.check() == []


def test_migrations_are_numbered_without_gap(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Else two machines could apply different ones."""
    assert load()
    (tmp_path / "0002_later.sql").write_text("SELECT 1")
    try:
        load(tmp_path)
    except MigrationError as error:
        assert "expected numbers" in str(error)
    else:
        raise AssertionError("a gap was taken")
