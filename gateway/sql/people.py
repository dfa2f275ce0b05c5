"""SQL of who meets whom: whether two people are on one request that the first of them may see."""

from __future__ import annotations

from gateway.identity.callers import Caller
from gateway.sql.database import Database

# $1: who asks; $2: about whom; $3: the asker is a manager; $4: as whom the asker looks.
_MEET = """
SELECT EXISTS (SELECT FROM requests.requests r JOIN requests.participants p ON p.request_id = r.id
               WHERE r.requester_id = $1 AND p.approver_id = $2)
    OR ($3 AND EXISTS (SELECT FROM requests.requests r JOIN requests.participants p ON p.request_id = r.id
                       WHERE r.requester_id = $2 AND p.approver_id = ANY($4)))
    OR ($3 AND EXISTS (SELECT FROM requests.participants mine JOIN requests.participants theirs USING (request_id)
                       WHERE mine.approver_id = ANY($4) AND theirs.approver_id = $2))"""


async def meet(database: Database, caller: Caller, user_id: str) -> bool:
    """Whether the caller may see a request that this user has a part in."""
    return bool(await database.value(_MEET, caller.id, user_id, "manager" in caller.roles, list(caller.principals)))
