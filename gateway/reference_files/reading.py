"""Reads a file into rows of cells (RFC 4180; UTF-8, with or without a byte order mark; any line ends)."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from gateway.http.problems import malformed
from gateway.reference_files.faults import Faults
from gateway.reference_files.sheets import Sheet

#: Rows of one file; a longer one can be cut in two, since what a file does not name stays as it is.
MAX_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Row:
    """`line` of the file at which it begins, the header being line 1; the cells by column."""

    line: int
    cells: dict[str, str]


def read(data: bytes, sheet: Sheet) -> list[Row]:
    """The rows. Raises Problem 400 for what is no UTF-8, 422 with every line that cannot be read."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise malformed(
            f"The file is not UTF-8 (byte {error.start} cannot be read). Save it as CSV UTF-8, separated by commas."
        ) from None
    faults = Faults()
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    rows: list[Row] = []
    while True:
        line = lines.line_num + 1
        try:
            cells = next(lines, None)
        except csv.Error as error:
            faults.note(line, None, f"cannot be read as CSV: {error}")
            break
        if cells is None:
            break
        if not cells:
            continue
        if header is None:
            header = cells
            _check_header(line, header, sheet, faults)
        elif len(rows) == MAX_ROWS:
            faults.note(line, None, f"is beyond the {MAX_ROWS:,} rows that a file may have; cut it into several files")
            break
        elif len(cells) != len(header):
            faults.note(line, None, f"has {len(cells)} cells, the header has {len(header)}")
        else:
            rows.append(Row(line, dict(zip(header, cells, strict=True))))
    if header is None and not faults:
        faults.note(1, None, f"is missing: the first line names the columns, such as {','.join(sheet.columns)}")
    if faults:
        raise faults.problem()
    return rows


def _check_header(line: int, header: list[str], sheet: Sheet, faults: Faults) -> None:
    known = f"the columns of {sheet.plural} are {','.join(sheet.columns)}"
    for name in sorted(set(header)):
        if name not in sheet.columns:
            faults.note(line, name, f"is no column; {known}")
        elif header.count(name) > 1:
            faults.note(line, name, "stands twice")
    if "id" not in header and not set(sheet.key) <= set(header):
        faults.note(
            line, None, f"names neither id nor {','.join(sheet.key)}, so nobody knows what a row is about; {known}"
        )
