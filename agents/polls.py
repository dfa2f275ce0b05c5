"""Messages of Faust's that are whole polls, not records."""

from __future__ import annotations

from typing import Any

from faust import Schema


class PollSchema(Schema):  # type: ignore[misc]
    """Passes a message of ours through as it is."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        return message.value
