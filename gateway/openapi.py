"""The OpenAPI 3.1 document, from the endpoints themselves. `python -m gateway.openapi [--check]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.http.bodies import MAX_BODY
from gateway.http.describe import Endpoint

STORED = Path(__file__).resolve().parents[1] / "schemas" / "openapi.json"
_REF = "#/components/schemas/{model}"

_COMMAND_HEADERS: list[dict[str, Any]] = [
    {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "Repeat a POST with the same key and body, and the first outcome is answered again.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]{1,128}$"},
    },
    {
        "name": "Prefer",
        "in": "header",
        "required": False,
        "description": "`wait=N` seconds for the outcome, or `respond-async` for none (RFC 7240).",
        "schema": {"type": "string", "examples": ["wait=5", "respond-async"]},
    },
]


_CSV: dict[str, Any] = {"text/csv": {"schema": {"type": "string"}}}
_IF_MATCH: dict[str, Any] = {
    "name": "If-Match",
    "in": "header",
    "description": "The `ETag` of the version that is to be changed; another one is answered 412.",
    "schema": {"type": "string", "examples": ['"3"']},
}


def describe(app: FastAPI, endpoints: Iterable[Endpoint]) -> None:
    """Add the endpoints to the application's routes, with all that the document says of them."""
    for endpoint in endpoints:
        first = next(iter(endpoint.answers))
        app.add_api_route(
            endpoint.path,
            endpoint.handler,
            methods=[endpoint.method],
            status_code=first,
            response_model=None,
            response_description=HTTPStatus(first).phrase,
            responses=_responses(endpoint),
            tags=[endpoint.tag],
            openapi_extra=_extra(endpoint),
            operation_id=_operation_id(endpoint),
            name=_operation_id(endpoint),
            summary=(endpoint.handler.__doc__ or "").strip().partition("\n")[0],
        )


def document() -> dict[str, Any]:
    """The OpenAPI document as a JSON object."""
    # The endpoints import what serves this document.
    from gateway.routes.table import ENDPOINTS  # noqa: PLC0415

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    describe(app, ENDPOINTS)
    found = get_openapi(
        title="Athena Budget",
        version=_version(),
        openapi_version="3.1.0",
        description="Budget requests and their approval. Errors are RFC 9457 problems.",
        routes=app.routes,
    )
    components = found.setdefault("components", {})
    components.setdefault("schemas", {}).update(_bodies(ENDPOINTS))
    components["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token that is bound to a key (`token_type` DPoP, RFC 9449) goes under the scheme `DPoP`, "
            "with a proof of that key in the header `DPoP`.",
        }
    }
    return found


def text() -> str:
    """The document as it is stored."""
    return json.dumps(document(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def check() -> bool:
    """Whether the stored document is that of the running routes."""
    return STORED.exists() and STORED.read_text(encoding="utf-8") == text()


def _responses(endpoint: Endpoint) -> dict[int | str, dict[str, Any]]:
    found: dict[int | str, dict[str, Any]] = {}
    for status, model in endpoint.answers.items():
        found[status] = {"description": HTTPStatus(status).phrase}
        if model is not None:
            found[status]["model"] = model
        if endpoint.yaml and status == 200:
            found[status]["content"] = {"application/yaml": {"schema": {"type": "string"}}}
        if endpoint.csv == "answer":
            found[status]["content"] = _CSV
        if endpoint.events and status == 200:
            found[status]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    for status in sorted(endpoint.problems):
        found.setdefault(status, {"description": HTTPStatus(status).phrase})
        content = found[status].setdefault("content", {})
        content["application/problem+json"] = {"schema": {"$ref": _REF.format(model="Problem")}}
    return found


def _extra(endpoint: Endpoint) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    names = [part[1:-1] for part in endpoint.path.split("/") if part.startswith("{")]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ]
    parameters += [
        {"name": each.name, "in": place, "required": False, "description": each.describes, "schema": each.schema}
        for place, named in (("query", endpoint.query), ("header", endpoint.headers))
        for each in named
    ]
    if endpoint.command:
        parameters += _COMMAND_HEADERS
    if endpoint.if_match is not None:
        parameters.append(_IF_MATCH | {"required": endpoint.if_match})
    if parameters:
        extra["parameters"] = parameters
    if endpoint.body is not None:
        schema = {"$ref": _REF.format(model=endpoint.body.__name__)}
        content: dict[str, Any] = {"application/json": {"schema": schema}}
        if endpoint.yaml_body:
            content["application/yaml"] = {"schema": {"type": "string", "maxLength": MAX_BODY}}
        extra["requestBody"] = {"required": endpoint.body_required, "content": content}
    if endpoint.csv == "body":
        extra["requestBody"] = {"required": True, "content": _CSV}
    if endpoint.access.signed_in:
        extra["security"] = [{"bearer": []}]
    return extra


def _operation_id(endpoint: Endpoint) -> str:
    words = (
        endpoint.path.removeprefix("/api/v1")
        .replace(".well-known", "well_known")
        .replace(".json", "")
        .replace(".csv", "")
    )
    parts = [part.strip("{}").replace("-", "_") for part in words.split("/") if part]
    return "_".join([endpoint.method.lower(), *parts])


def _bodies(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    models: list[type[BaseModel]] = []
    for endpoint in endpoints:
        if endpoint.body is not None and endpoint.body not in models:
            models.append(endpoint.body)
    _, schema = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    found: dict[str, Any] = schema["$defs"]
    return found


def _version() -> str:
    try:
        return version("athena-budget")
    except PackageNotFoundError:
        return "0.0.0"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if not check():
            sys.exit(f"{STORED.name} is not that of the routes. Run: python -m gateway.openapi > schemas/openapi.json")
    else:
        sys.stdout.write(text())
