"""The reference data as a process holds it in memory: built from `athena.reference`, record by record."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.delegations import Delegations
from schemas.reference import (
    ENTITIES,
    Assignment,
    Category,
    Delegation,
    Department,
    Entity,
    Reason,
    Rules,
    User,
    entity_key,
)


class Catalog:
    """Current reference data, indexed for the questions asked of it. One writer; plain dictionaries.

    `offset` is the next offset of `athena.reference` to be applied. `staffing` changes whenever somebody becomes an active manager
    or is one no longer, and whenever assignments change: whoever keeps a pool of approvers then looks at it again.
    """

    def __init__(self) -> None:
        self.offset = 0
        self.staffing = 0
        self.users: dict[str, User] = {}
        self.users_by_email: dict[str, str] = {}
        self.departments: dict[str, Department] = {}
        self.categories: dict[str, Category] = {}
        self.reasons: dict[str, Reason] = {}
        self.assignments: dict[str, Assignment] = {}
        self.assignments_by_category: dict[str, dict[str, Assignment]] = {}
        self._assignments_saying: dict[tuple[str | None, ...], tuple[str, ...]] = {}
        self.delegations = Delegations()
        self.rules: dict[int, Rules] = {}
        self.newest_rules_version = 0

    def copy(self) -> Catalog:
        """One that can be changed without changing this one."""
        other = Catalog()
        vars(other).update(
            {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()}
        )
        other.assignments_by_category = {key: dict(value) for key, value in self.assignments_by_category.items()}
        return other

    @property
    def current_rules(self) -> Rules | None:
        """The newest published rules file."""
        return self.rules.get(self.newest_rules_version)

    def apply(self, key: bytes, value: bytes | None) -> Entity | None:
        """Take over one record; None when it removed something. Raises ValueError for what is no entity."""
        kind, _, id_ = key.decode().partition(":")
        if value is None:
            self._drop(kind, id_)
            return None
        entity = ENTITIES.validate_json(value)
        if entity_key(entity.kind, entity.id) != key.decode():
            raise ValueError(f"record {key!r} on the reference topic holds {entity.kind}:{entity.id}")
        self.put(entity)
        return entity

    def put(self, entity: Entity) -> None:
        """Store one entity under its id, replacing the one before; an older version than the one at hand is left out."""
        known = self.find(entity.kind, entity.id)
        if known is not None and known.version > entity.version:
            return
        match entity:
            case User():
                before = self.users.get(entity.id)
                manages = self.is_active(entity.id, "manager")
                if before is not None and self.users_by_email.get(before.email.lower()) == entity.id:
                    del self.users_by_email[before.email.lower()]
                self.users[entity.id] = entity
                self.users_by_email[entity.email.lower()] = entity.id
                self.staffing += manages != self.is_active(entity.id, "manager")
            case Department():
                self.departments[entity.id] = entity
            case Category():
                self.categories[entity.id] = entity
            case Reason():
                self.reasons[entity.id] = entity
            case Assignment():
                self._drop("assignment", entity.id)
                self.assignments[entity.id] = entity
                self.assignments_by_category.setdefault(entity.category_id, {})[entity.id] = entity
                self._assignments_saying[entity.place] = (*self.assignments_saying(entity.place), entity.id)
                self.staffing += 1
            case Delegation():
                self.delegations.put(entity)
            case Rules():
                self.rules[int(entity.id)] = entity
                self.newest_rules_version = max(self.newest_rules_version, int(entity.id))

    def _drop(self, kind: str, id_: str) -> None:
        if kind == "assignment" and (assignment := self.assignments.pop(id_, None)) is not None:
            del self.assignments_by_category[assignment.category_id][id_]
            self._assignments_saying[assignment.place] = tuple(
                one for one in self.assignments_saying(assignment.place) if one != id_
            )
            if not self._assignments_saying[assignment.place]:
                del self._assignments_saying[assignment.place]
            self.staffing += 1
        elif kind == "delegation":
            self.delegations.drop(id_)

    def assignments_for(self, category_id: str) -> Iterator[Assignment]:
        """All assignments of one category."""
        return iter(self.assignments_by_category.get(category_id, {}).values())

    def assignments_saying(self, place: tuple[str | None, ...]) -> tuple[str, ...]:
        """Ids of the assignments whose `place` it is: one, but for those of before that was asked for."""
        return self._assignments_saying.get(place, ())

    def region_of(self, user: User) -> str | None:
        """The region of the user's department."""
        department = self.departments.get(user.department_id)
        return None if department is None else department.region

    def is_active(self, user_id: str, role: str) -> bool:
        """Whether the account is active and has the role now."""
        user = self.users.get(user_id)
        return user is not None and user.active and role in user.roles

    def delegators_of(self, user_id: str, at_ms: int) -> tuple[str, ...]:
        """For whom this person may vote at that time, sorted: active managers who have named them their delegate. It passes no
        further: their delegators' delegators are not among them.
        """
        delegations = self.delegations.to(user_id)
        if not delegations:
            return ()
        found = {one.delegator_id for one in delegations if one.holds(at_ms)}
        return tuple(sorted(person for person in found if self.is_active(person, "manager")))

    def delegates_of(self, user_id: str, at_ms: int) -> tuple[str, ...]:
        """Who may vote for this person at that time, sorted: their delegates who are active managers, if they are one."""
        if not self.is_active(user_id, "manager"):
            return ()
        found = {one.delegate_id for one in self.delegations.by(user_id) if one.holds(at_ms)}
        return tuple(sorted(person for person in found if self.is_active(person, "manager")))

    def find(self, kind: str, id_: str) -> Entity | None:
        """The entity of that kind and id, None if there is none."""
        if kind == "rules":
            return self.rules.get(int(id_)) if id_.isdigit() else None
        tables: dict[str, dict[str, Entity]] = {
            "user": self.users,  # type: ignore[dict-item]
            "department": self.departments,  # type: ignore[dict-item]
            "category": self.categories,  # type: ignore[dict-item]
            "reason": self.reasons,  # type: ignore[dict-item]
            "assignment": self.assignments,  # type: ignore[dict-item]
            "delegation": self.delegations.all,  # type: ignore[dict-item]
        }
        return tables[kind].get(id_)

    def entities(self) -> Iterator[Entity]:
        """Everything, kind by kind."""
        for table in (
            self.departments, self.users, self.categories, self.reasons, self.assignments, self.delegations.all, self.rules,
        ):  # fmt: skip
            yield from table.values()
