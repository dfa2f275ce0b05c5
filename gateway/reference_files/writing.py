"""Writes a file, piece by piece."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from gateway.reference_files.sheets import Sheet, row_of
from schemas.catalog import Catalog
from schemas.reference import EntityBase

#: Rows made at once, between which other calls have their turn: about 2 ms.
ROWS_AT_ONCE = 500


def pieces(sheet: Sheet, catalog: Catalog) -> Iterator[bytes]:
    """The file as the reference data is now, in the order of ids; what changes while it is read does not show."""
    return _pieces(sheet, sorted(sheet.table(catalog).values(), key=lambda entity: str(entity.id)))


def _pieces(sheet: Sheet, entities: list[EntityBase]) -> Iterator[bytes]:
    yield _written([list(sheet.columns)])
    for start in range(0, len(entities), ROWS_AT_ONCE):
        yield _written([row_of(sheet, entity) for entity in entities[start : start + ROWS_AT_ONCE]])


def _written(rows: list[list[str]]) -> bytes:
    """RFC 4180: lines end in CRLF, cells are quoted where they must be."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode()
