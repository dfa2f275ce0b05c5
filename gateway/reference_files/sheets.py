"""The files that there are: their columns, and how a value stands in a cell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas import reference
from schemas.base import Wire
from schemas.catalog import Catalog
from schemas.reference import EntityBase

#: What a spreadsheet takes for a formula, full-width forms included (OWASP, CSV Injection); a tab or line break hides one.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Sheet:
    """One file. `columns` stand in this order; `key` are those that tell two entities apart when their ids are not given; a
    cell of `optional` may be empty.
    """

    kind: str
    plural: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    optional: frozenset[str]
    body: type[Wire]

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns that are what a body says."""
        return tuple(name for name in self.columns if name not in ("id", "version"))

    def table(self, catalog: Catalog) -> Mapping[str, Any]:
        """The catalog's entities of this kind, by id."""
        table: Mapping[str, Any] = getattr(catalog, self.plural)
        return table


def _sheet(kind: str, plural: str, body: type[Wire], fields: str, key: str, optional: str = "") -> Sheet:
    columns = ("id", *fields.split(), "version")
    return Sheet(kind, plural, columns, tuple(key.split()), frozenset(optional.split()), body)


SHEETS = {
    sheet.plural: sheet
    for sheet in (
        _sheet(
            "user", "users", reference.UserBody,
            "email name roles department_id phone locale active", "email", "phone locale active",
        ),
        _sheet("department", "departments", reference.DepartmentBody, "name region", "name"),
        _sheet("category", "categories", reference.CategoryBody, "name active", "name", "active"),
        _sheet(
            "reason", "reasons", reference.ReasonBody, "text category_id active", "category_id text", "category_id active"
        ),
        _sheet(
            "assignment", "assignments", reference.AssignmentBody,
            "category_id level approver_id department_id region",
            "category_id level approver_id department_id region", "department_id region",
        ),
    )
}  # fmt: skip


def text_of(value: Any) -> str:
    """A value as its cell: nothing for None, roles side by side; a text that a spreadsheet would run is led by an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    return "'" + text if _FORMULA.match(text) else text


def row_of(sheet: Sheet, entity: EntityBase) -> list[str]:
    """The entity as a row."""
    return [text_of(getattr(entity, name)) for name in sheet.columns]


def plain_text(cell: str) -> str:
    """The text in a cell: without the apostrophe that `text_of` put before it."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def value_of(sheet: Sheet, name: str, cell: str) -> Any:
    """The value in a cell. Raises ValueError for what cannot be one."""
    text = plain_text(cell)
    if name == "roles":
        roles = tuple(text.split())
        if len(set(roles)) != len(roles):
            raise ValueError("names a role twice")
        return roles
    if name in sheet.optional and not text:
        return None
    if name == "active":
        if text.lower() not in _FLAGS:
            raise ValueError("must be true or false")
        return _FLAGS[text.lower()]
    return text
