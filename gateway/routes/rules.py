"""The rules file: its versions, publishing one, and what one would do before it is published."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from gateway.http.access import ADMIN, OVERSEER
from gateway.http.answers import Answer, etag, json_answer
from gateway.http.bodies import MAX_BODY, is_json, media_type, parse, read_bytes
from gateway.http.call import Call
from gateway.http.describe import API, CURSOR, LIMIT, Group, Query
from gateway.http.preconditions import if_match, required
from gateway.http.problems import Problem, invalid_at, malformed, not_found, refusal
from gateway.http.queries import Page, moment, query, whole
from gateway.models import answers
from gateway.models.bodies import RulesBody
from gateway.streams.exchange import command_id_of
from gateway.streams.reference_commands import Change, replace, shown
from schemas import reference
from schemas.base import rfc3339
from schemas.codes import Code
from schemas.reference import Rules

group = Group("Rules")

YAML = ("application/yaml", "application/x-yaml", "text/yaml")
#: The tag of "nothing was published yet", for the first PUT.
_NOTHING = re.compile(r'\s*"0"\s*')
_MOST_VERSIONS = 2**31 - 1
_PUBLISHED: dict[int, type[BaseModel] | None] = {200: answers.RulesVersion, 202: answers.Command}
_COMMENT = Query("X-Comment", {"type": "string", "maxLength": 4000}, "Why, for the version's history; UTF-8.")
_SINCE = Query("since", {"type": "string", "format": "date-time"}, "Only requests filed at or after this time.")
_TO = Query("to", {"type": "integer", "minimum": 1, "maximum": _MOST_VERSIONS}, "The other version; else the newest.")


def _document(rules: Rules) -> dict[str, Any]:
    return {
        "version": rules.version,
        "author_id": rules.author_id,
        "at": rfc3339(rules.at),
        "comment": rules.comment,
        "yaml": rules.yaml,
    }


def _answer(call: Call, rules: Rules, document: dict[str, Any]) -> Answer:
    """As JSON, or as the text that was published for `Accept: application/yaml`, byte for byte."""
    tag = etag(rules.version)
    if _wants_yaml(call.text_header(b"accept")):
        return Answer(rules.yaml.encode(), media_type=b"application/yaml; charset=utf-8", headers=(tag,))
    return json_answer(document, headers=(tag,))


@group.endpoint("GET", "/rules", OVERSEER, {200: answers.RulesVersion}, problems=(404,), yaml=True)
async def current(call: Call) -> Answer:
    """The current rules file: as JSON, or as the YAML that was published for `Accept: application/yaml`."""
    rules = call.services.catalog.current_rules
    if rules is None:
        raise not_found()
    return _answer(call, rules, _document(rules))


@group.endpoint(
    "PUT",
    "/rules",
    ADMIN,
    _PUBLISHED,
    body=RulesBody,
    yaml_body=True,
    headers=(_COMMENT,),
    command=True,
    if_match=True,
)
async def publish(call: Call) -> Answer:
    """Publish a rules file on top of the version that `If-Match` names (`"0"`: there is none yet).

    It is checked by the worker, against the organisation of that moment; errors are answered 422 `rules-invalid`, with `findings`.
    A file of more than 4 KiB is looked at before it is sent to be published: one with errors is never on record. An admin can
    publish one such file at a time; another is answered 503, as when others publish theirs.
    """
    comment = _comment(call)
    body = await _file(call)
    expected = _expected(call)
    return await _publish(call, f"{API}/rules", body.yaml, body.comment if comment is None else comment, expected)


@group.endpoint(
    "GET", "/rules/versions", OVERSEER, {200: answers.Page[answers.RulesVersionItem]}, query=(LIMIT, CURSOR)
)
async def versions(call: Call) -> Answer:
    """All published versions, newest first."""
    published = call.services.catalog.rules
    page = Page.of(call, query(call), user_id=call.caller.id, endpoint="rules/versions", length=1)
    numbers = sorted((n for n in published if page.after is None or n < page.after[0]), reverse=True)
    items = [
        {
            "version": rules.version,
            "author_id": rules.author_id,
            "at": rfc3339(rules.at),
            "comment": rules.comment,
            "warnings": sum(1 for finding in rules.findings if finding.get("severity") == "warning"),
        }
        for rules in (published[n] for n in numbers[: page.limit])
    ]
    shown_last = [items[-1]["version"]] if items else None
    return json_answer({"items": items, "next_cursor": page.next(numbers[: page.limit + 1], shown_last)})


@group.endpoint("GET", "/rules/versions/{n}", OVERSEER, {200: answers.CheckedRulesVersion}, yaml=True)
async def version(call: Call) -> Answer:
    """One published version, as JSON or YAML, with what its check found."""
    rules = _version(call, call.path_values["n"])
    return _answer(call, rules, {**_document(rules), "findings": list(rules.findings)})


@group.endpoint("GET", "/rules/versions/{n}/diff", ADMIN, {200: answers.RulesDiff}, query=(_TO,))
async def diff(call: Call) -> Answer:
    """From version `n` to version `to`: line by line as a unified diff, and rule by rule."""
    before = _version(call, call.path_values["n"])
    found = whole(query(call), "to", 1, _MOST_VERSIONS)
    after = call.services.catalog.rules.get(call.services.catalog.newest_rules_version if found is None else found)
    if after is None:
        raise invalid_at("/query/to", "is no published version")
    names = (f"version {before.version}", f"version {after.version}")
    return json_answer(await call.services.rules_desk.difference(before.yaml, after.yaml, names))


@group.endpoint(
    "POST", "/rules/versions/{n}/restore", ADMIN, _PUBLISHED, headers=(_COMMENT,), command=True, if_match=True
)
async def restore(call: Call) -> Answer:
    """Publish the text of version `n` as a new version, on top of the one that `If-Match` names. It is checked again."""
    comment = _comment(call)
    rules = _version(call, call.path_values["n"])
    expected = _expected(call)
    path = f"{API}/rules/versions/{rules.version}/restore"
    return await _publish(call, path, rules.yaml, comment or f"Restores version {rules.version}", expected, "POST")


@group.endpoint(
    "POST", "/rules/check", ADMIN, {200: answers.RulesCheck}, body=RulesBody, yaml_body=True, body_required=False
)
async def check(call: Call) -> Answer:
    """What is wrong with a file, and what is worth knowing. Publishes nothing. Without a body: the current file, for the
    organisation as it is now."""
    findings = await call.services.rules_desk.check((await _file(call, current=True)).yaml)
    ok = all(finding["severity"] != "error" for finding in findings)
    return json_answer({"ok": ok, "findings": findings})


@group.endpoint(
    "POST", "/rules/simulate", ADMIN, {200: answers.RulesSimulation}, body=RulesBody, yaml_body=True, query=(_SINCE,)
)
async def simulate(call: Call) -> Answer:
    """What a file would do with the requests on record, each by its own facts when it was filed. Publishes nothing."""
    body = await _file(call)
    since: datetime | None = moment(query(call), "since")
    answer = await call.services.rules_desk.simulate(body.yaml, since)
    if "findings" in answer:
        problem = refusal(Code.RULES_INVALID.value, None)
        problem.findings = answer["findings"]
        raise problem
    return json_answer(answer)


async def _publish(
    call: Call, path: str, yaml: str, comment: str | None, expected: int | None, method: str = "PUT"
) -> Answer:
    async def answer(change: Change) -> Answer:
        assert isinstance(change.entity, Rules)
        return shown(change, _document(change.entity))

    body = reference.RulesBody(yaml=yaml, comment=comment)
    command_id = command_id_of(call, call.caller, path, method)

    async def send() -> Answer:
        return await replace(call, path, "rules", body, expected, answer, command_id=command_id)

    return await call.services.rules_publishing.publish(call.caller.id, command_id, yaml, send)


async def _file(call: Call, *, current: bool = False) -> RulesBody:
    """The file in the body: YAML as it is, or JSON with its text. `current`: no body stands for the current file.

    Raises:
        Problem: 413, 415, 400 for what is no UTF-8 or no JSON, 422; 404 when no body stands for a file that is not there.
    """
    data = await read_bytes(call, MAX_BODY)
    content_type = call.raw_headers.get(b"content-type")
    if current and not data and content_type is None:
        rules = call.services.catalog.current_rules
        if rules is None:
            raise not_found()
        return RulesBody(yaml=rules.yaml)
    if is_json(content_type):
        return parse(data, RulesBody)
    if media_type(content_type) not in YAML:
        raise Problem(415, "unsupported-media-type", "Send the file as application/yaml, or as application/json.")
    try:
        return RulesBody(yaml=data.decode("utf-8"))
    except UnicodeDecodeError:
        raise malformed("The file is not UTF-8.") from None


def _comment(call: Call) -> str | None:
    """The header `X-Comment`, which is UTF-8. Raises Problem 422."""
    value = call.raw_headers.get(b"x-comment")
    if value is None:
        return None
    try:
        return RulesBody(yaml="", comment=value.decode("utf-8").strip()).comment or None
    except ValueError:
        text = "must be UTF-8 text of at most 4000 characters without control characters"
        raise invalid_at("/header/X-Comment", text) from None


def _expected(call: Call) -> int | None:
    """The version to publish on top of, None for whichever. Raises Problem 428, 412."""
    header = call.text_header(b"if-match")
    if header is not None and _NOTHING.fullmatch(header):
        return 0
    wanted = required(if_match(call))
    newest = call.services.catalog.newest_rules_version
    if newest == 0:
        raise refusal(Code.PRECONDITION_FAILED.value, None)
    return wanted.expected(newest)


def _version(call: Call, text: str) -> Rules:
    """A published version. Raises Problem 404."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 and not text.startswith("0") else 0
    rules = call.services.catalog.rules.get(number)
    if rules is None:
        raise not_found()
    return rules


def _wants_yaml(accept: str | None) -> bool:
    """Whether YAML is named, and not with less weight than JSON."""
    weights = {"yaml": 0.0, "json": 0.0}
    for part in (accept or "").lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        if media in YAML:
            weights["yaml"] = max(weights["yaml"], weight)
        elif media == "application/json":
            weights["json"] = max(weights["json"], weight)
    return weights["yaml"] > 0 and weights["yaml"] >= weights["json"]
