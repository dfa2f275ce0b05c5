"""Reference data as CSV files: one to take away for each kind, and one to send back."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

from gateway.http.access import ADMIN
from gateway.http.answers import Answer, json_answer, pieces_answer
from gateway.http.call import Call
from gateway.http.csv_bodies import MEDIA_TYPE, read_csv
from gateway.http.describe import Group, Handler
from gateway.identity.account_credentials import end_sessions_of_all_inactive
from gateway.models import answers
from gateway.reference_files.faults import Faults
from gateway.reference_files.ids import DerivedIds
from gateway.reference_files.reading import read
from gateway.reference_files.rehearsal import Step, rehearse
from gateway.reference_files.sheets import SHEETS, Sheet
from gateway.reference_files.taking_over import take_over
from gateway.reference_files.wanted import Reader, Wanted
from gateway.reference_files.writing import pieces
from gateway.streams.known import caught_up
from schemas.catalog import Catalog

group = Group("Reference data as files")


def _export(sheet: Sheet) -> Handler:
    async def export(call: Call) -> Answer:
        name = b'attachment; filename="%s.csv"' % sheet.plural.encode()
        tag = b'W/"%d"' % call.services.catalog.offset
        headers = ((b"content-disposition", name), (b"etag", tag))
        return pieces_answer(_in_turns(sheet, call.services.catalog), MEDIA_TYPE, headers)

    export.__doc__ = f"All {sheet.plural} as CSV: {','.join(sheet.columns)}."
    return export


async def _in_turns(sheet: Sheet, catalog: Catalog) -> AsyncIterator[bytes]:
    for piece in pieces(sheet, catalog):
        yield piece
        await asyncio.sleep(0)


def _import(sheet: Sheet) -> Handler:
    async def take_in(call: Call) -> Answer:
        data = await read_csv(call)
        services = call.services
        async with services.imports.turn():
            await caught_up(call)
            wanted, steps = await asyncio.to_thread(_checked, call, sheet, data, services.catalog.copy())
            people = [one.id for one in wanted] if sheet.kind == "user" else []
            # Before: who comes back finds no session of before. After: who is let go has none left.
            await end_sessions_of_all_inactive(services, people)
            try:
                done = await take_over(call, sheet.kind, steps)
            finally:
                await end_sessions_of_all_inactive(services, people)
        unchanged = len(wanted) - len(steps) + done.same
        return json_answer(
            {"created": done.created, "changed": done.changed, "unchanged": unchanged, "rows": len(wanted)}
        )

    take_in.__doc__ = f"""Make and change {sheet.plural} from a CSV file; what it does not name stays as it is.

    The header names some of {",".join(sheet.columns)}; a column that is not there leaves its values as they are."""
    return take_in


def _checked(call: Call, sheet: Sheet, data: bytes, catalog: Catalog) -> tuple[list[Wanted], list[Step]]:
    """What the rows want, and the commands for those that are not so yet. Raises Problem 400, 422: nothing was changed then."""
    faults = Faults()
    services = call.services
    wanted = list(Reader(sheet, catalog, DerivedIds(services.key), faults).wanted(read(data, sheet)))

    def facts() -> dict[str, Any]:
        return {
            "command_id": str(uuid.uuid4()),
            "actor_id": call.caller.id,
            "correlation_id": call.correlation_id,
            "source_address": call.address,
            "salt": services.nonce(16),
        }

    steps = rehearse(wanted, catalog, call.caller.id, facts, services.now_ms(), faults)
    if faults:
        raise faults.problem()
    return wanted, steps


for _sheet in SHEETS.values():
    group.endpoint("GET", f"/export/{_sheet.plural}.csv", ADMIN, {200: None}, csv="answer")(_export(_sheet))
    group.endpoint("PUT", f"/import/{_sheet.plural}", ADMIN, {200: answers.Import}, csv="body", problems=(409,))(
        _import(_sheet)
    )
