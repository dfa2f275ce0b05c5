"""Who may call an endpoint: declared with each route, held by the edge before anything of the call is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from schemas.reference import Role

ROLES: frozenset[str] = frozenset(get_args(Role))


@dataclass(frozen=True, slots=True)
class Access:
    """`signed_in`: the caller is known. `roles`: has one of these; all of them where any signed-in person may."""

    signed_in: bool
    roles: frozenset[str] = field(default=ROLES)

    @property
    def limited(self) -> bool:
        """Whether some signed-in people may not."""
        return self.signed_in and self.roles != ROLES


ANYONE = Access(signed_in=False)
SIGNED_IN = Access(signed_in=True)


def only(*roles: Role) -> Access:
    """Those with one of `roles`."""
    return Access(signed_in=True, roles=frozenset(roles))


SALES = only("sales")
MANAGER = only("manager")
ADMIN = only("admin")
#: Who sees everything, and may read the records about it.
OVERSEER = only("admin", "auditor")
