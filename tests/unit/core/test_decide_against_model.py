"""Whatever people do, in whatever order and at whatever time: `decide` and `evolve` answer as an independent model does.

A difference here means that somebody decides who may not, or cannot decide who may, or that money moves too early or never.
"""

from __future__ import annotations

from typing import Any, Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rules.decide import decide
from schemas.base import LEVELS
from schemas.commands import CommandBase
from schemas.events import AnyEvent
from schemas.reference import Delegation
from schemas.state import RequestState
from tables.evolve import evolve, fold
from tests.unit.core.model import Model, World
from tests.unit.core.organisation import (
    REQUEST_ID,
    START,
    Context,
    approve,
    assignment,
    catalog,
    close,
    comment,
    escalate,
    fixed_rules,
    reassign,
    reject,
    remind,
    rollback,
    submit,
    user,
    withdraw,
)

PEOPLE = ("ann", "bob", "cid", "dee", "eve")
EVERYBODY = (*PEOPLE, *PEOPLE, "sam", "tom", "root")
ROLES = {**{person: {"manager"} for person in PEOPLE}, "sam": {"sales", "manager"}, "tom": {"sales"}, "root": {"admin"}}
PLACES = ((None, None), ("sales-de", None), (None, "emea"), (None, "amer"), ("sales-us", None))
WINDOW = 1000

pools = st.lists(st.sampled_from((*PEOPLE, *PEOPLE, "sam")), min_size=2, max_size=5, unique=True)
seen_versions = st.one_of(st.none(), st.none(), st.integers(-2, 1))


class Life(RuleBasedStateMachine):
    """One request; `now` is the log's time."""

    @initialize(
        first=st.lists(st.tuples(pools, st.sampled_from(PLACES[:3])), min_size=3, max_size=3),
        route=st.sampled_from([("L1",), ("L2",), ("L1", "L2"), ("L1", "L3"), ("L1", "L2", "L3"), ("L1", "L2", "L3")]),
        specs=st.fixed_dictionaries({level: st.sampled_from(["any", "any", "any", "all", 2, 3]) for level in LEVELS}),
        times=st.tuples(st.sampled_from([None, 150]), st.sampled_from([None, 100, 300])),
    )
    def organise(self, first: Any, route: Any, specs: dict[Any, Any], times: Any) -> None:
        self.now = START
        self.catalog = catalog({})
        self.world = World({who: set(roles) for who, roles in ROLES.items()}, [], "sales-de", "emea")
        for who in ROLES:
            self._account(who)
        for level, (people, place) in zip(LEVELS, first, strict=True):
            for person in people:
                self._assign(level, person, place)
        self.context = Context(
            self.catalog, fixed_rules(route, specs, WINDOW, remind_after=times[0], escalate_after=times[1])
        )
        self.model = Model(self.world, "sam", route, specs, WINDOW, *times)
        self.state: RequestState | None = None
        self.events: list[AnyEvent] = []
        self.submit()

    def _account(self, who: str) -> None:
        roles = self.world.roles.get(who)
        self.catalog.put(user(who, *sorted(roles or ROLES[who]), active=roles is not None))  # type: ignore[arg-type]

    def _assign(self, level: Any, person: str, place: Any) -> None:
        one = assignment(level, person, department=place[0], region=place[1])
        row = (level, person, place)
        if row not in self.world.rows:
            self.world.rows.append(row)
            self.catalog.put(one)

    def _send(self, command: CommandBase, codes: set[str]) -> None:
        self.context.at = self.now
        decision = decide(self.state, command, self.context)
        if codes:
            assert decision.event is None
            assert decision.refusal in codes, f"{decision.refusal} is none of {codes}"
        else:
            assert decision.event is not None, f"refused with {decision.refusal}; expected an event"
            self._take(decision.event)

    def _take(self, event: AnyEvent) -> None:
        self.state = evolve(self.state, event, REQUEST_ID)
        self.events.append(event)

    def _seen(self, offset: int | None) -> int | None:
        return None if offset is None else max(0, self.model.version + offset)

    @precondition(lambda self: self.state is None)
    @rule()
    def submit(self) -> None:
        self._send(submit("sam"), self.model.submit(self.now))

    @precondition(lambda self: self.state is not None)
    @rule(who=st.sampled_from(EVERYBODY), seen=seen_versions, word=st.sampled_from(["approve", "approve", "reject"]))
    def vote(self, who: str, seen: int | None, word: Literal["approve", "reject"]) -> None:
        version = self._seen(seen)
        command = approve if word == "approve" else reject
        self._send(command(who, expected_version=version), self.model.vote(word, who, self.now, version))

    @precondition(lambda self: self.state is not None and self.model.open_level() is not None)
    @rule(data=st.data(), word=st.sampled_from(["approve"] * 6 + ["reject"]), seen=seen_versions)
    def vote_of_the_pool(self, data: st.DataObject, word: Literal["approve", "reject"], seen: int | None) -> None:
        deciders = self.model.deciders(self.model.open_level() or "")
        named = [delegate for delegator, delegate, *_ in self.world.away if delegator in deciders]
        who = data.draw(st.sampled_from([*deciders, *named]))
        command, version = approve if word == "approve" else reject, self._seen(seen)
        self._send(command(who, expected_version=version), self.model.vote(word, who, self.now, version))

    @precondition(lambda self: self.state is not None)
    @rule(who=st.sampled_from((*PEOPLE, "sam")), seen=seen_versions)
    def rollback(self, who: str, seen: int | None) -> None:
        version = self._seen(seen)
        self._send(rollback(who, expected_version=version), self.model.rollback(who, self.now, version))

    @precondition(lambda self: self.state is not None and self.model.standing())
    @rule(data=st.data(), offset=st.sampled_from([None, None, None, -1, 0, 1]))
    def rollback_of_a_decision(self, data: st.DataObject, offset: int | None) -> None:
        """By somebody who has decided, often to the millisecond at the window's end."""
        fact = data.draw(st.sampled_from(self.model.standing()))
        if offset is not None:
            self.now = max(self.now, fact.at + WINDOW + offset)
        self._send(rollback(fact.who), self.model.rollback(fact.who, self.now, None))

    @precondition(lambda self: self.state is not None)
    @rule(who=st.sampled_from(("sam", "sam", "ann", "tom")), seen=seen_versions, often=st.integers(0, 4))
    def withdraw(self, who: str, seen: int | None, often: int) -> None:
        if often:
            return
        version = self._seen(seen)
        self._send(withdraw(who, expected_version=version), self.model.withdraw(who, self.now, version))

    @precondition(lambda self: self.state is not None)
    @rule(who=st.sampled_from(EVERYBODY))
    def comment(self, who: str) -> None:
        self._send(comment(who), self.model.comment(who, self.now))

    @precondition(lambda self: self.state is not None)
    @rule(level=st.sampled_from(LEVELS), who=st.sampled_from(("root", "system", "ann")), seen=seen_versions)
    def reassign(self, level: Any, who: str, seen: int | None) -> None:
        version = self._seen(seen)
        codes = self.model.reassign(level, who, self.now, version)
        self._send(reassign(level, who, expected_version=version), codes)
        if not codes:
            unstaffed = not self.model.log[-1].pool
            assert getattr(self.events[-1], "unstaffed", None) is unstaffed

    @precondition(lambda self: self.state is not None)
    @rule(of=st.integers(-1, 0), offset=st.sampled_from([None, None, None, -1, -1, 0, 1]))
    def close_window(self, of: int, offset: int | None) -> None:
        assert self.state is not None
        decisions = self.model.standing()
        if decisions and offset is not None:
            self.now = max(self.now, decisions[-1].at + WINDOW + offset)
        version = max(1, (decisions[-1].version if decisions else 2) + of)
        self.context.at = self.now
        decision = decide(self.state, close(version), self.context)
        assert decision.refusal is None
        if self.model.close(version, self.now):
            assert decision.event is not None
            self._take(decision.event)
        else:
            assert decision.event is None

    @precondition(lambda self: self.state is not None and self.model.opened() is not None)
    @rule(
        word=st.sampled_from(["remind", "escalate"]),
        of=st.sampled_from([0, 0, 0, -1]),
        offset=st.sampled_from([-1, 0, 0, 1]),
    )
    def what_time_does(self, word: str, of: int, offset: int) -> None:
        """Often to the millisecond at its time, early, for another opening of the level, or again."""
        opened = self.model.opened()
        assert opened is not None
        after = self.model.remind_after if word == "remind" else self.model.escalate_after
        self.now = max(self.now, opened.at + (after or 0) + offset)
        version = max(1, opened.version + of)
        self.context.at = self.now
        decision = decide(self.state, (remind if word == "remind" else escalate)(version), self.context)
        assert decision.refusal is None
        if getattr(self.model, word)(version, self.now):
            assert decision.event is not None, f"no {word} at {self.now}"
            self._take(decision.event)
        else:
            assert decision.event is None

    @rule(people=st.permutations(PEOPLE), sam=st.integers(0, 9), begins=st.integers(-50, 50), lasts=st.integers(1, 600))
    def name_a_delegate(self, people: list[str], sam: int, begins: int, lasts: int) -> None:
        """Also of the requester, and by them."""
        delegator, delegate = ("sam" if sam == 1 else people[0]), ("sam" if sam == 0 else people[1])
        times = (self.now + begins, self.now + begins + lasts)
        self.catalog.put(
            Delegation(
                id=f"d{len(self.world.away)}",
                version=1,
                delegator_id=delegator,
                delegate_id=delegate,
                from_ms=times[0],
                until_ms=times[1],
            )
        )
        self.world.away.append((delegator, delegate, *times))

    @rule(who=st.sampled_from(EVERYBODY))
    def deactivate(self, who: str) -> None:
        self.world.roles.pop(who, None)
        self._account(who)

    @rule()
    def everybody_is_back(self) -> None:
        for who, roles in ROLES.items():
            self.world.roles[who] = set(roles)
            self._account(who)

    @rule(level=st.sampled_from(LEVELS), person=st.sampled_from((*PEOPLE, "sam")), place=st.sampled_from(PLACES))
    def assign(self, level: Any, person: str, place: Any) -> None:
        self._assign(level, person, place)

    @precondition(lambda self: self.world.rows)
    @rule(data=st.data())
    def unassign(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(self.world.rows))
        self.world.rows.remove(row)
        level: Any = row[0]
        one = assignment(level, row[1], department=row[2][0], region=row[2][1])
        self.catalog.apply(f"assignment:{one.id}".encode(), None)

    @rule(passed=st.one_of(st.integers(0, 3), st.integers(0, WINDOW)))
    def time_passes(self, passed: int) -> None:
        self.now += passed

    @invariant()
    def the_state_is_the_models(self) -> None:
        if getattr(self, "state", None) is None:
            return
        state = self.state
        assert state is not None
        assert self.model.picture() == {
            "version": state.version,
            "status": state.status.value,
            "levels": [
                (
                    one.level,
                    one.approvers,
                    one.quorum,
                    one.escalated,
                    [(v.approver_id, v.given_by, v.decision, v.at, v.version) for v in one.votes],
                )
                for one in state.levels
            ],
            "open": None if state.open_level is None else state.open_level.level,
            "rollback_until": state.rollback_until,
            "closes_at": state.closes_at,
            "finalized_at": state.finalized_at,
            "updated_at": state.updated_at,
        }

    @invariant()
    def nobody_is_ever_stuck(self) -> None:
        """While all pinned people are there, every pending request can be brought to its end by different people."""
        if getattr(self, "state", None) is not None and self.model.open_level() is not None:
            assert not self.model._stuck(self.model.levels(), self.model.standing())

    def teardown(self) -> None:
        if getattr(self, "events", None):
            assert fold(self.events, REQUEST_ID) == self.state


Life.TestCase.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLife = Life.TestCase
