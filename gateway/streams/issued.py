"""Whose the commands are that this gateway put into the log, until the read side tells what became of them."""

from __future__ import annotations

from collections import OrderedDict

from gateway.http.problems import Problem, unavailable
from gateway.sql import commands
from gateway.sql.database import Database

MAX_REMEMBERED = 20_000


class Issued:
    """The newest 20,000 in memory; those answered with 202 in PostgreSQL too, for every gateway to keep the promise."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._newest: OrderedDict[str, str] = OrderedDict()

    def remember(self, command_id: str, user_id: str) -> None:
        """Note the author."""
        self._newest[command_id] = user_id
        if len(self._newest) > MAX_REMEMBERED:
            self._newest.popitem(last=False)

    async def promise(self, command_id: str, user_id: str) -> None:
        """Note the author where other gateways and later lives of this one see it.

        Raises:
            Problem: 503, when PostgreSQL does not answer. Then there must be no 202: this gateway alone would know of it.
        """
        try:
            await commands.promise(self._database, command_id, user_id)
        except Problem as problem:
            raise unavailable(
                "The command was taken, but its outcome is not known yet and cannot be promised just now. Repeat it with the "
                "same Idempotency-Key to hear of it; without one, look whether it took effect before you send it again."
            ) from problem

    async def is_by(self, command_id: str, user_id: str) -> bool:
        """Whether that user issued it. Raises Problem 503."""
        author = self._newest.get(command_id)
        if author is not None:
            return author == user_id
        return await commands.promised_to(self._database, command_id) == user_id
