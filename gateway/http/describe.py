"""Declares an endpoint: its place, and what the OpenAPI document says of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from gateway.http.access import Access
from gateway.http.answers import Answer
from gateway.http.call import Call

API = "/api/v1"
Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter, or a header."""

    name: str
    schema: dict[str, Any]
    describes: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. `answers` are models by status (None: no body), `problems` the statuses of its errors."""

    method: str
    path: str
    handler: Handler
    tag: str
    access: Access
    body: type[BaseModel] | None
    body_required: bool
    query: Sequence[Query]
    headers: Sequence[Query]
    answers: Mapping[int, type[BaseModel] | None]
    problems: frozenset[int]
    command: bool
    yaml: bool
    yaml_body: bool
    events: bool
    if_match: bool | None
    csv: Literal["body", "answer"] | None


LIMIT = Query("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}, "How many items at most.")
CURSOR = Query("cursor", {"type": "string", "maxLength": 1024}, "`next_cursor` of the page before.")
MIN_VERSION = Query(
    "min_version",
    {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
    "Wait up to 2 s until this version is there, else 503.",
)


class Group:
    """Collects the endpoints of one file."""

    def __init__(self, tag: str, prefix: str = API) -> None:
        self.tag = tag
        self.prefix = prefix
        self.endpoints: list[Endpoint] = []

    def endpoint(
        self,
        method: str,
        path: str,
        access: Access,
        answers: Mapping[int, type[BaseModel] | None],
        *,
        body: type[BaseModel] | None = None,
        body_required: bool = True,
        query: Sequence[Query] = (),
        headers: Sequence[Query] = (),
        problems: Sequence[int] = (),
        command: bool = False,
        yaml: bool = False,
        yaml_body: bool = False,
        events: bool = False,
        if_match: bool | None = None,
        csv: Literal["body", "answer"] | None = None,
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated handler. `command`: it makes a command. `yaml`, `yaml_body`: it answers, takes YAML too.
        `events`: it answers with Server-Sent Events. `if_match`: it needs that header (True), or honours it. `csv`: what is a file
        of comma-separated values.

        Raises:
            TypeError: no `access` was declared; such a gateway does not start.
        """
        if not isinstance(access, Access):
            raise TypeError(f"{method} {path} does not declare who may call it; give an Access, not {access!r}")
        # What holds for every call, whatever it is: its head is bad, late or too long, it is one too many, or we are at fault.
        statuses = {400, 408, 414, 429, 431, 500, 503, *problems}
        if access.signed_in:
            statuses |= {401}
        if access.limited or command:
            statuses |= {403}
        if body is not None or csv == "body":
            statuses |= {413, 415, 422}
        if query:
            statuses |= {422}
        if "{" in path:
            statuses |= {404}
        if command:
            statuses |= {404, 409, 422}
        if if_match is not None:
            statuses |= {400, 412, 428} if if_match else {400, 412}

        def declare(handler: Handler) -> Handler:
            self.endpoints.append(
                Endpoint(
                    method, self.prefix + path, handler, self.tag, access, body, body_required, query, headers, answers,
                    frozenset(statuses), command, yaml, yaml_body, events, if_match, csv,
                )
            )  # fmt: skip
            return handler

        return declare
