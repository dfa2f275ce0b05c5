"""`python -m ops.checking.program`: reads one question from stdin, answers it on stdout, both JSON. See `process`.

A question is a line; for a simulation the requests on record follow it, in the text form of PostgreSQL's COPY.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterable
from typing import Any

import orjson

from ops.checking.process import OUT_OF_MEMORY
from ops.checking.requests import events_of
from rules.check import Reference, check
from rules.difference import difference
from rules.file import parse_rules
from rules.model import RulesFileError
from rules.simulate import Simulation
from schemas.catalog import Catalog
from schemas.reference import ENTITIES


def main() -> None:
    """One question."""
    question = orjson.loads(sys.stdin.buffer.readline())
    seconds, memory = int(question["seconds"]) + 1, int(question["memory"])
    # Whoever asked ends us when the time is up; if it has gone itself, these do. The first limit's signal is no other's.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        found = orjson.dumps(answer(question, sys.stdin.buffer))
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # an orderly end may need more
    sys.stdout.buffer.write(found)


def answer(question: dict[str, Any], rows: Iterable[bytes]) -> dict[str, Any]:
    """The answer to a question; `rows` are the lines that follow it."""
    match question["ask"]:
        case "diff":
            return difference(question["before"], question["after"], question["names"])
        case "check":
            return _check(question)
        case "simulate":
            return _simulate(question, rows)
    raise ValueError(question["ask"])


def _check(question: dict[str, Any]) -> dict[str, Any]:
    try:
        findings = check(parse_rules(question["yaml"]), Reference.of(_catalog(question)))
    except RulesFileError as error:
        findings = error.findings
    return {"findings": [finding.model_dump(mode="json") for finding in findings]}


def _simulate(question: dict[str, Any], rows: Iterable[bytes]) -> dict[str, Any]:
    try:
        file = parse_rules(question["yaml"])
    except RulesFileError as error:
        return {"findings": [finding.model_dump(mode="json") for finding in error.findings]}
    simulation = Simulation(file, Reference.of(_catalog(question)))
    for request_id, event in events_of(rows):
        simulation.add(request_id, event)
    return simulation.result(question["decision_ms"])


def _catalog(question: dict[str, Any]) -> Catalog:
    catalog = Catalog()
    for entity in question["entities"]:
        catalog.put(ENTITIES.validate_python(entity))
    return catalog


if __name__ == "__main__":
    main()
