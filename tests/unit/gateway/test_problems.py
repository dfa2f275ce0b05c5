"""Every error has the one shape that clients know, and tells nothing it should not."""

from __future__ import annotations

import re

import orjson
import pytest

from gateway.http import problems
from gateway.http.paths import Paths
from gateway.routes.table import ENDPOINTS
from schemas.codes import DETAIL, Code, status_of


@pytest.mark.parametrize("code", list(Code))
def test_every_refusal_has_its_status_and_a_sentence(code: Code) -> None:
    """A client would not know what to do about a refusal."""
    problem = problems.refusal(code.value, None)
    document = orjson.loads(problem.answer("c-12345678").body)
    assert document["status"] == status_of(code)
    assert document["code"] == code.value
    assert document["type"] == f"https://athena-budget.dev/problems/{code.value}"
    assert document["detail"] == DETAIL[code]
    assert document["correlation_id"] == "c-12345678"


def test_a_refusal_of_a_newer_worker_is_still_a_problem() -> None:
    """An update of workers before gateways would turn refusals into errors of the server."""
    assert problems.refusal("brand-new", "No.").status == 409


def test_a_pointer_becomes_an_error_with_its_place() -> None:
    """A form could not say which field is wrong."""
    assert problems.refusal("unknown-reference", None, "/category_id").errors[0]["pointer"] == "/category_id"


@pytest.mark.parametrize(
    ("problem", "status", "header"),
    [
        (problems.unauthenticated(), 401, b"www-authenticate"),
        (problems.forbidden(), 403, None),
        (problems.not_found(), 404, None),
        (problems.malformed("x"), 400, None),
        (problems.invalid_at("/a", "b"), 422, None),
        (problems.unavailable("x"), 503, b"retry-after"),
        (problems.internal(), 500, None),
    ],
)
def test_statuses_and_headers(problem: problems.Problem, status: int, header: bytes | None) -> None:
    """Clients would retry at the wrong time, or not at all."""
    answer = problem.answer("c-12345678")
    assert (answer.status, answer.media_type) == (status, b"application/problem+json")
    assert header is None or header in dict(answer.headers)


def test_a_wrong_method_names_the_right_ones() -> None:
    """A client would look for the mistake in the path."""
    with pytest.raises(problems.Problem) as caught:
        Paths(ENDPOINTS).find("DELETE", "/api/v1/requests")
    assert caught.value.status == 405
    assert dict(caught.value.headers)[b"allow"] == b"GET, POST"


@pytest.mark.parametrize(
    "path", ["", "/", "//", "/api/v1", "/api/v1/requests/", "/api/v1/requests//status", "/api/v2/requests"]
)
def test_unknown_paths_are_not_found(path: str) -> None:
    """A typing mistake would lead somewhere else."""
    with pytest.raises(problems.Problem) as caught:
        Paths(ENDPOINTS).find("GET", path)
    assert caught.value.status == 404


def test_every_endpoint_is_found_at_its_place() -> None:
    """An endpoint of the document could not be called."""
    paths = Paths(ENDPOINTS)
    for endpoint in ENDPOINTS:
        names = re.findall(r"{(\w+)}", endpoint.path)
        found, values = paths.find(endpoint.method, re.sub(r"{\w+}", "some-id", endpoint.path))
        assert found is endpoint
        assert values == dict.fromkeys(names, "some-id")
