"""The app on one phone: taps go to the outbox, talks empty it and follow the updates; it may be killed between any two steps.

Rows of a sync answer are taken over only where they are newer; into the approvals never as a new row, since what waits for whom is
told by updates alone. A page's rows and its cursor are written as one: of a partition of which the cursor has nothing yet, nothing
is told gone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from tests.client import PASSWORD
from tests.fleet.book import DROPPED, Book
from tests.fleet.disk import Disk, Kept, Side
from tests.fleet.line import Fate, Line
from tests.fleet.plan import Talk, Tap
from tests.fleet.screen import FILING, items_of

What = Literal["requests", "approvals"]
#: Of one talk; the next one goes on from there.
MAX_PAGES = 100


class Killed(Exception):
    """The system has ended the app."""


class Wrong(AssertionError):
    """The gateway answered what it must not."""


class Phone:
    """`roles` are those that its person has on a usual day."""

    def __init__(
        self, number: int, user_id: str, roles: tuple[str, ...], line: Line, book: Book, skew: timedelta
    ) -> None:
        self.number, self.user_id, self.roles = number, user_id, roles
        self._line, self._book, self._skew = line, book, skew
        self._disk = Disk(number)
        #: What the system's key chain keeps.
        self._token: str | None = None
        self._left = 0
        self.kept: Kept = self._disk.read()
        #: Lists that are not the person's just now.
        self.closed: set[What] = set()

    @property
    def lists(self) -> list[What]:
        """What this person has on the screen."""
        pairs: tuple[tuple[What, str], ...] = (("requests", "sales"), ("approvals", "manager"))
        return [what for what, role in pairs if role in self.roles]

    def tap(self, tap: Tap) -> None:
        """Do what the screen offers."""
        for item in items_of(tap, self.user_id, self.roles, self.kept, self._skew):
            self._book.tapped(self.user_id, self.kept.client_id, item)
            self.kept.outbox.append(item)
        self._disk.write(self.kept)

    async def talk(self, talk: Talk) -> None:
        """Up, down, or both, until the line breaks or the app is killed; then it begins anew from what it kept.

        Raises LineBroken.
        """
        self._left = talk.dies_at
        try:
            await self._talk(talk)
        except Killed:
            self._book.met["killed"] += 1
            self.kept = self._disk.read()
        finally:
            self._left = 0

    async def _talk(self, talk: Talk) -> None:
        ways = {"up": ("up",), "down": ("down",), "both": ("up", "down"), "down first": ("down", "up")}[talk.way]
        fate: Fate = talk.fate
        for way in ways:
            for what in self.lists:
                if self._token is None and not await self._sign_in():
                    return
                if way == "up":
                    await self._up(what, talk, fate)
                else:
                    await self._down(what, talk, fate)
                fate = "good"

    def _step(self) -> None:
        if self._left:
            self._left -= 1
            if not self._left:
                raise Killed

    async def _sign_in(self) -> bool:
        body = {"email": f"{self.user_id}@athena.test", "password": PASSWORD, "device_id": self.kept.client_id}
        status, answer = await self._line.call("POST", "/auth/login", None, body)
        if status == 200:
            self._token = answer["access_token"]
        elif status not in (401, 429, 503):
            raise Wrong(f"POST /auth/login answers {status}: {answer}")
        self._step()
        return status == 200

    async def _up(self, what: What, talk: Talk, fate: Fate) -> None:
        filing = what == "requests"
        batch = [one for one in self.kept.outbox if (one["op"] in FILING) == filing][: talk.items]
        if not batch:
            return
        for item in batch:
            self._tapped(item).sent += 1
        self._step()
        body = {"client_id": self.kept.client_id, "items": batch}
        status, answer = await self._line.call("POST", f"/{what}/sync", self._token, body, fate=fate, delay=talk.delay)
        self._step()
        if not self._went(what, status, answer):
            return
        results = answer["results"]
        if [one["op_id"] for one in results] != [one["op_id"] for one in batch]:
            raise Wrong(f"results of other items: {results}")
        by_op = {one["op_id"]: one for one in results}
        for item, result in zip(batch, results, strict=True):
            self._take(what, item, result, by_op)
            self._disk.write(self.kept)
            self._step()

    def _take(self, what: What, item: dict[str, Any], result: dict[str, Any], by_op: dict[str, Any]) -> None:
        self._book.met[f"told {result['result']}"] += 1
        root = result
        while root["result"] == "blocked":
            root = by_op[root["depends_on"]]
        if root["result"] == "retry":
            return
        self.kept.outbox = [one for one in self.kept.outbox if one["op_id"] != item["op_id"]]
        code = result.get("problem", {}).get("code")
        end = DROPPED if result["result"] == "blocked" else result.get("first_result", result["result"])
        self._tapped(item).heard.append((end, code))
        row = result.get("request")
        if row is not None:
            rows = self.kept.side(what).rows
            known = rows.get(row["id"])
            if known is not None or (what == "requests" and row["requester_id"] == self.user_id):
                rows[row["id"]] = _newer(known, row)

    async def _down(self, what: What, talk: Talk, fate: Fate) -> None:
        for _ in range(MAX_PAGES):
            side = self.kept.side(what)
            asked: dict[str, Any] = {"limit": talk.page}
            if talk.by_time and side.server_time is not None:
                asked["lastSync"] = side.server_time
            elif side.cursor is not None:
                asked["cursor"] = side.cursor
            status, page = await self._line.call(
                "GET", f"/{what}/updates", self._token, fate=fate, delay=talk.delay, **asked
            )
            self._step()
            if status == 410:
                self._forget(what)
                continue
            if not self._went(what, status, page):
                return
            self._apply(what, page)
            if not page["has_more"]:
                return

    def _apply(self, what: What, page: dict[str, Any]) -> None:
        side = self.kept.side(what)
        for row in page["items"]:
            side.rows[row["id"]] = _newer(side.rows.get(row["id"]), row)
        for one in page["gone"]:
            side.rows.pop(one["id"], None)
        side.cursor = page["cursor"]
        # Only the time of a last page may be asked for.
        side.server_time = None if page["has_more"] else page["server_time"]
        self._disk.write(self.kept)
        self._step()

    def _went(self, what: What, status: int, answer: Any) -> bool:
        """Whether the call was answered 200; what else is to be done then."""
        if status == 200:
            self.closed.discard(what)
            return True
        self._book.met[f"answer {status}"] += 1
        if status == 401:
            self._token = None
        elif status == 403:
            # A role that was given back since counts with a new token alone.
            self._token = None
            self.closed.add(what)
            self._forget(what)
        elif status not in (429, 503):
            raise Wrong(f"{what} answers {status}: {answer}")
        return False

    def _forget(self, what: What) -> None:
        """The list is not the person's any more, or has to be fetched anew."""
        side = self.kept.side(what)
        side.rows, side.cursor, side.server_time = Side().rows, None, None
        self._disk.write(self.kept)

    def _tapped(self, item: dict[str, Any]) -> Any:
        return self._book.of(self.user_id, self.kept.client_id, item["op_id"])


def _newer(one: dict[str, Any] | None, other: dict[str, Any]) -> dict[str, Any]:
    return other if one is None or other["version"] >= one["version"] else one
