"""Lists of people: complete, without repeats, at a bounded cost."""

from __future__ import annotations

import pytest

from gateway.directory import Directory, Position, Wanted
from schemas.catalog import Catalog
from schemas.reference import User

ALL = Wanted(None, None, None)


def person(number: int, created_at: int, **fields: object) -> User:
    facts = {
        "id": f"u{number:05d}", "version": 1, "email": f"P{number}@Example.com", "name": f"Person {number}", "roles": (),
        "department_id": "hq", "created_at": created_at,
    }  # fmt: skip
    return User.model_validate(facts | fields)


def walk(directory: Directory, wanted: Wanted, limit: int) -> tuple[list[str], int]:
    """Everybody page by page, and the number of pages."""
    found: list[str] = []
    after: Position | None = None
    pages = 0
    while True:
        people, after = directory.page(wanted, after, limit)
        found += [user.id for user in people]
        pages += 1
        if after is None:
            return found, pages


def test_pages_hold_everybody_once_newest_first() -> None:
    """Somebody could not be found, or was found twice, where many were made in the same millisecond."""
    catalog = Catalog()
    for number in range(23):
        catalog.put(person(number, created_at=number // 5))
    for limit in (1, 2, 5, 22, 23, 24):
        found, pages = walk(Directory(catalog), ALL, limit)
        assert found == [f"u{number:05d}" for number in reversed(range(23))]
        assert pages == -(-23 // limit)
    assert walk(Directory(Catalog()), ALL, 5) == ([], 1)


def test_who_comes_while_somebody_pages_shifts_nothing() -> None:
    """A page would repeat or leave out people whenever an account is made."""
    catalog = Catalog()
    for number in range(6):
        catalog.put(person(number, created_at=number))
    directory = Directory(catalog)
    first, after = directory.page(ALL, None, 3)
    catalog.put(person(9, created_at=9))
    catalog.offset += 1
    second, end = directory.page(ALL, after, 3)
    assert [user.id for user in (*first, *second)] == ["u00005", "u00004", "u00003", "u00002", "u00001", "u00000"]
    assert end is None and directory.page(ALL, None, 1)[0][0].id == "u00009"


def test_a_rare_name_among_many_is_found_at_a_bounded_cost_per_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for somebody rare would hold up everybody else's calls."""
    monkeypatch.setattr("gateway.directory.MAX_LOOKED_AT", 10)
    catalog = Catalog()
    for number in range(35):
        catalog.put(person(number, created_at=number, name="Zoë" if number in (3, 30) else "Somebody"))
    assert walk(Directory(catalog), Wanted(None, None, "zoë"), 50) == (["u00030", "u00003"], 4)


def test_filters_are_all_met() -> None:
    """A list of managers would show others."""
    catalog = Catalog()
    catalog.put(person(1, 1, roles=("manager", "sales")))
    catalog.put(person(2, 2, roles=("manager",), department_id="emea"))
    catalog.put(person(3, 3))
    directory = Directory(catalog)
    assert walk(directory, Wanted("manager", None, None), 9)[0] == ["u00002", "u00001"]
    assert walk(directory, Wanted("manager", "hq", None), 9)[0] == ["u00001"]
    assert walk(directory, Wanted(None, None, "p3@example"), 9)[0] == ["u00003"]
