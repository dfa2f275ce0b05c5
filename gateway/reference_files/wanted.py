"""From a file's rows to what each of them wants: which entity it is about, and how that shall be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gateway.reference_files.faults import Faults
from gateway.reference_files.ids import DerivedIds
from gateway.reference_files.reading import Row
from gateway.reference_files.sheets import Sheet, value_of
from gateway.values import ENTITY_ID
from schemas.catalog import Catalog
from schemas.reference import RESERVED_IDS, Body, EntityBase

_VERSION = re.compile(r"[1-9][0-9]{0,14}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`before` is the entity now, None when there is none; `body` is None when it is as the row wants it already."""

    line: int
    id: str
    before: EntityBase | None
    body: Body | None


class Reader:
    """Rows of one file against the reference data as it is in `catalog`; what is wrong with them goes to `faults`."""

    def __init__(self, sheet: Sheet, catalog: Catalog, ids: DerivedIds, faults: Faults) -> None:
        self._sheet = sheet
        self._ids = ids
        self._table = sheet.table(catalog)
        self._faults = faults
        self._lines: dict[str, int] = {}
        self._by_key: dict[tuple[Any, ...], list[str]] = {}
        for entity in self._table.values():
            self._by_key.setdefault(self._key(vars(entity)), []).append(entity.id)

    def wanted(self, rows: list[Row]) -> Iterator[Wanted]:
        """What the rows want, apart from those with a fault."""
        for row in rows:
            found = self._wanted(row)
            if found is not None:
                yield found

    def _wanted(self, row: Row) -> Wanted | None:
        values = self._values(row)
        id_ = None if values is None else self._id(row, values)
        if values is None or id_ is None:
            return None
        before = self._table.get(id_)
        values = {name: values[name] for name in self._sheet.fields if name in values}
        if before is not None:
            values = {name: getattr(before, name) for name in self._sheet.fields} | values
            values = _kept(values, before)
            if all(getattr(before, name) == value for name, value in values.items()):
                # Also when the version is an old one: a file that was taken over in part is sent again.
                return Wanted(row.line, id_, before, None)
        elif values.get("locale", "") is None:
            del values["locale"]
        body = self._body(row, values) if self._is_current(row, before) else None
        return None if body is None else Wanted(row.line, id_, before, body)

    def _values(self, row: Row) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        sound = True
        for name, cell in row.cells.items():
            try:
                found[name] = value_of(self._sheet, name, cell)
            except ValueError as error:
                self._faults.note(row.line, name, str(error))
                sound = False
        return found if sound else None

    def _id(self, row: Row, values: dict[str, Any]) -> str | None:
        id_ = values.get("id") or self._derived_id(row, values)
        if id_ is None:
            return None
        if not ENTITY_ID.fullmatch(id_):
            self._faults.note(
                row.line, "id", "must be 1 to 64 of A-Z a-z 0-9 . _ @ -, a letter or digit first; or empty"
            )
            return None
        if self._sheet.kind == "user" and id_ in RESERVED_IDS:
            self._faults.note(row.line, "id", "is the product's own: no account may have it")
            return None
        if id_ in self._lines:
            self._faults.note(row.line, None, f"is about the same {self._sheet.kind} as line {self._lines[id_]}")
            return None
        self._lines[id_] = row.line
        return str(id_)

    def _derived_id(self, row: Row, values: dict[str, Any]) -> str | None:
        """The id of what has the same key; else one that follows from it, so that the same file makes nothing twice."""
        if any(name not in values for name in self._sheet.key):
            self._faults.note(row.line, "id", f"is missing; without it a row needs {','.join(self._sheet.key)}")
            return None
        key = self._key(values)
        ids = self._by_key.get(key, [])
        if len(ids) > 1:
            self._faults.note(
                row.line, "id", f"is missing, and there are {len(ids)} of these: {', '.join(sorted(ids)[:5])}"
            )
            return None
        if ids:
            return ids[0]
        words = [part or "" for part in key]
        number = 0
        while (id_ := self._ids.of(self._sheet.kind, *words, str(number))) in self._table:
            number += 1  # one that was made of this key has another by now
        return id_

    def _key(self, values: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(values[name].lower() if name == "email" else values[name] for name in self._sheet.key)

    def _is_current(self, row: Row, before: EntityBase | None) -> bool:
        given = row.cells.get("version", "")
        if not given:
            return True
        if not _VERSION.fullmatch(given):
            self._faults.note(row.line, "version", "must be a whole number above 0, or empty")
            return False
        version = 0 if before is None else before.version
        if int(given) != version:
            now = f"it has version {version} now" if version else f"there is no such {self._sheet.kind}"
            self._faults.note(
                row.line, "version", f"is not the present one: {now}; look at it again, then repeat the change"
            )
            return False
        return True

    def _body(self, row: Row, values: dict[str, Any]) -> Body | None:
        both = values.get("department_id") is not None and values.get("region") is not None
        if both and self._sheet.kind == "assignment":
            self._faults.note(row.line, "region", "cannot be given together with department_id")
            return None
        try:
            found: Any = self._sheet.body.model_validate(values)
        except ValidationError as error:
            for each in error.errors(include_url=False, include_context=False, include_input=False):
                column = str(each["loc"][0]) if each["loc"] else None
                self._faults.note(row.line, column, each["msg"].removeprefix("Value error, "))
            return None
        body: Body = found
        return body


def _kept(values: dict[str, Any], before: EntityBase) -> dict[str, Any]:
    """The values without what only looks like a change: an empty cell that leaves things as they are, roles in another order."""
    for name in ("active", "locale"):
        if name in values and values[name] is None:
            values[name] = getattr(before, name)
    if "roles" in values and set(values["roles"]) == set(getattr(before, "roles", ())):
        values["roles"] = getattr(before, "roles", ())
    return values
