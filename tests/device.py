"""A device that follows updates: keeps what it was shown, as `api.md` (Sync) tells it to."""

from __future__ import annotations

from typing import Any

from tests import shapes
from tests.client import Api


class Device:
    """`kept` by id; `shown` counts how often each (id, version) came; `gone` is what was taken away, with why."""

    def __init__(self, api: Api, who: str, path: str, limit: int = 50) -> None:
        self.api, self.who, self.path, self.limit = api, who, path, limit
        self.kept: dict[str, dict[str, Any]] = {}
        self.shown: dict[tuple[str, int], int] = {}
        self.gone: dict[str, str] = {}
        self.cursor: str | None = None
        self.server_time = ""

    def page(self, **asked: Any) -> dict[str, Any]:
        """One page, applied."""
        page: dict[str, Any] = shapes.answer(
            self.api.get(self.who, self.path, limit=self.limit, **asked), 200, shapes.updates
        )
        self.apply(page)
        return page

    def apply(self, page: dict[str, Any]) -> None:
        """Take a page over."""
        assert len(page["items"]) + len(page["gone"]) <= self.limit
        for item in page["items"]:
            self.kept[item["id"]] = item
            key = (item["id"], item["version"])
            self.shown[key] = self.shown.get(key, 0) + 1
        for one in page["gone"]:
            self.gone[one["id"]] = one["why"]
            self.kept.pop(one["id"], None)
        self.cursor, self.server_time = page["cursor"], page["server_time"]

    def sync(self, **asked: Any) -> int:
        """Follow to the end; the number of pages."""
        asked = asked or ({} if self.cursor is None else {"cursor": self.cursor})
        for pages in range(1, 500):
            page = self.page(**asked)
            if not page["has_more"]:
                return pages
            asked = {"cursor": page["cursor"]}
        raise AssertionError("no end")
