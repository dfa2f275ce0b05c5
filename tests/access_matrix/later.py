"""The command cells once more, by callers who do not wait (`Prefer: respond-async`): what they learn at once, and what later."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.http.describe import API
from gateway.routes.table import ENDPOINTS
from tests.access_matrix import calls
from tests.access_matrix.house import House
from tests.access_matrix.table import Line, read

PLACES = {(each.method, each.path.removeprefix(API)) for each in ENDPOINTS if each.command}
SECONDS = 60.0
#: Whose request which person may see, as the table of endpoints has it.
_SHOWN = {
    (line.object, who)
    for line in read("endpoints.txt")
    if line.what == ("GET", "/requests/{id}")
    for who, wanted in line.cells.items()
    if wanted == "200"
}
_NO_WAIT = {"Prefer": "respond-async"}
_OWN = frozenset({"id", "correlation_id"})
_OWN_HEADERS = frozenset({"x-correlation-id", "date", "command-id", "location"})


@dataclass(frozen=True)
class Promised:
    """A command that was answered with 202; `object` is the id in its path."""

    line: Line
    who: str
    wanted: str
    object: str
    answer: Any

    def __str__(self) -> str:
        return f"{self.line} as {self.who}, answered later"

    @property
    def place(self) -> str:
        return f"/commands/{self.answer.json()['id']}"

    @property
    def of_request(self) -> bool:
        """Whether it is about a request that is there and that its author may see."""
        about = self.line.what[1].startswith(("/requests", "/approvals"))
        return about and (self.line.object == "-" or (self.line.object, self.who) in _SHOWN)

    @property
    def stranger(self) -> str:
        """Somebody else, who may see more than most."""
        return "audit" if self.who == "admin" else "admin"


class Later:
    """`wrong` are sentences; `not_found` what each person could tell by of an object that is not there, or not theirs to see."""

    def __init__(self, house: House) -> None:
        self.wrong: list[str] = []
        self.not_found: dict[tuple[str, ...], set[object]] = {}
        self._house = house
        self._nothing = {who: _seen(self._ask(who, f"/commands/{calls.MISSING}")) for who in ("admin", "audit")}

    def send(self, line: Line) -> Iterator[Promised]:
        """Call for each cell; those that are promised an outcome. Where nothing is changed the cells share an object."""
        shared: str | None = None
        for who, wanted in line.cells.items():
            changes = _status(wanted) < 300
            if line.object == "-":
                id_ = ""
            elif changes or shared is None:
                id_ = calls.object_id(self._house, *line.what, line.object)
                shared = shared if changes else id_
            else:
                id_ = shared
            place = " ".join(line.what)
            path = line.what[1].replace("{id}", id_).replace("{n}", id_)
            body = calls.BODIES[place]() if place in calls.BODIES else None
            answer = self._house.call(who, line.what[0], path, headers=_NO_WAIT, json=body)
            if answer.status_code == 202 and _status(wanted) not in (401, 403):
                promised = Promised(line, who, wanted, id_, answer)
                self._is_nobody_elses(promised)
                yield promised
            elif (found := calls.check(str(line), who, wanted, answer)) is not None:
                self.wrong.append(found)

    def hear(self, promised: Promised) -> None:
        """Wait for the outcome, which must be the one that a caller who waits is answered."""
        until = time.monotonic() + SECONDS
        while (answer := self._ask(promised.who, promised.place)).json().get("status") == "pending":
            if time.monotonic() > until:
                self.wrong.append(f"{promised}: no outcome")
                return
            time.sleep(0.02)
        self._is_nobody_elses(promised)
        found = _difference(promised, answer)
        if found is not None:
            self.wrong.append(f"{promised}: expected {promised.wanted}, {found}: {answer.text[:300]}")
        if promised.wanted == "404" and not promised.of_request:
            key = (*promised.line.what, promised.who)
            self.not_found.setdefault(key, set()).add((_seen(promised.answer), _seen(answer)))

    def _is_nobody_elses(self, promised: Promised) -> None:
        answer = self._ask(promised.stranger, promised.place)
        if answer.status_code != 404 or _seen(answer) != self._nothing[promised.stranger]:
            self.wrong.append(f"{promised}: {promised.stranger} is told {answer.text[:200]}")

    def _ask(self, who: str, path: str) -> Any:
        return self._house.call(who, "GET", path)


def _difference(promised: Promised, answer: Any) -> str | None:
    """What is wrong with what `GET /commands/{id}` tells the author, None when it is as expected."""
    status, code = calls.expected(promised.wanted)
    if answer.status_code != 200:
        return "its author is not told"
    found = answer.json()
    request, problem = found["request"], found["problem"]
    if (request is None) == promised.of_request:
        return "the request is there although it is not theirs to see, or is not although it is"
    if request is not None and promised.object not in ("", request["id"]):
        return "it is another request"
    if status < 300:
        return None if (found["status"], problem) == ("accepted", None) else "it is not accepted"
    if found["status"] != "refused" or problem["status"] != status:
        return "it is not refused in the same way"
    codes = {code, "not-visible"} if status == 404 else {code}
    return None if problem["code"] in codes else "the code is another one"


def _status(wanted: str) -> int:
    return calls.expected(wanted)[0]


def _seen(answer: Any) -> tuple[Any, ...]:
    """All of an answer that a caller could tell two apart by: every id of a command is another one."""
    headers = {name: value for name, value in answer.headers.items() if name not in _OWN_HEADERS}
    body = {name: value for name, value in answer.json().items() if name not in _OWN}
    if body.get("problem"):
        body["problem"] = {name: value for name, value in body["problem"].items() if name not in _OWN}
    length = headers.pop("content-length")  # of ids that are all of one length
    return answer.status_code, length, repr(sorted(headers.items())), repr(sorted(body.items()))
