"""Somebody who decides for others now and then: what they have is what waits for them and for these others, at any time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import asyncpg
import orjson
import pytest

from agents.projector.batch import Batch
from agents.projector.store import Store
from gateway.feed import approvals
from gateway.feed.bookmarks import Bookmark, read, write
from gateway.sql import updates
from gateway.sql.database import Database
from tests.feed import soundness
from tests.integration.projector_rig import Rig, servers
from tests.unit.projector.stories import Story, value_of

ME = "l2.b"
OTHERS = ("l1.a", "l1.b", "l2.a")
NOW = """SELECT r.id::text AS id, r.version FROM requests.requests r WHERE EXISTS (
  SELECT FROM requests.participants p WHERE p.request_id = r.id
    AND (p.waiting AND p.approver_id = ANY($1::text[]) OR p.decided AND p.approver_id = $2))"""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with servers() as found:
        yield found


class Phone:
    """Follows page by page, and keeps its bookmark as bytes."""

    def __init__(self, services: Any) -> None:
        self.call: Any = SimpleNamespace(services=services, caller=SimpleNamespace(id=ME))
        self.mark = write(Bookmark(0, {}))
        self.has: dict[str, int] = {}

    async def page(self, limit: int) -> bool:
        """One page; whether there are more."""
        page = await approvals.page(self.call, read(self.mark), limit)
        assert len(page.documents) + len(page.gone) <= limit
        for text in page.documents:
            document = orjson.loads(text)
            self.has[document["id"]] = document["version"]
        for id_, _ in page.gone:
            self.has.pop(id_, None)
        self.mark = write(page.mark)
        return page.has_more


@pytest.mark.parametrize("seed", range(6))
def test_a_delegate_has_what_waits_for_those_who_named_them_and_no_more(
    rig: Rig, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody on holiday would come back to what nobody saw, or a former delegate would go on voting in vain."""
    rig.wipe()
    rng = random.Random(seed)
    decides_for: set[str] = set()
    monkeypatch.setattr(approvals, "principals", lambda *_: (ME, *sorted(decides_for)))
    ground = soundness.prepared(100 + seed, 600, 4)
    catalog = SimpleNamespace(users=dict.fromkeys((ME, *OTHERS)))

    async def live() -> None:
        store = Store(rig.home.database_url("projector"))
        await store.offsets(ground.partitions)
        database = Database(rig.home.database_url("gateway"))
        await database.start()
        owner = await asyncpg.connect(rig.owner)
        phone = Phone(SimpleNamespace(database=database, catalog=catalog, now_ms=lambda: 0))
        at, done = dict.fromkeys(ground.partitions, 0), dict.fromkeys(ground.partitions, 0)
        met = 0
        while any(done[p] < len(rows) for p, rows in ground.partitions.items()):
            match rng.randint(0, 5):
                case 0:
                    decides_for.symmetric_difference_update({rng.choice(OTHERS)})
                case 1 | 2:
                    await phone.page(rng.choice((1, 2, 10)))
                case 3 if rng.random() < 0.3:
                    while await phone.page(rng.choice((3, 50))):
                        pass
                    rows = await owner.fetch(NOW, [ME, *decides_for], ME)
                    assert phone.has == {row["id"]: row["version"] for row in rows}
                    met += 1
                case _:
                    partition = rng.choice([p for p, rows in ground.partitions.items() if done[p] < len(rows)])
                    part = ground.partitions[partition][done[partition] : done[partition] + rng.choice((1, 5, 20))]
                    batch = Batch()
                    batch.extend(partition, at[partition], part, part[-1].offset + 1)
                    assert (await store.write(batch)).held
                    at[partition], done[partition] = part[-1].offset + 1, done[partition] + len(part)
        assert met > 0
        await owner.close()
        await database.stop()
        await store.close()

    asyncio.run(live())


def test_a_delegate_is_not_shown_their_own_request_as_one_to_decide(rig: Rig) -> None:
    """Approving it would be refused, and `/approvals/incoming` does not have it."""
    rig.wipe()
    own = Story(9_000_001).submit()

    async def life() -> None:
        store = Store(rig.home.database_url("projector"))
        await store.offsets([0])
        database = Database(rig.home.database_url("gateway"))
        await database.start()
        batch = Batch()
        batch.extend(0, 0, [soundness.Record(n, value_of(one)) for n, one in enumerate(own.records)], len(own.records))
        assert (await store.write(batch)).held
        for who, wanted in (("sam.sales", []), (ME, [own.id])):
            found = await updates.approvals(database, who, (who, "l1.a"), {}, 10, told=False)
            assert [row.id for row in found.rows if row.document is not None] == wanted, who
        await database.stop()
        await store.close()

    asyncio.run(life())
