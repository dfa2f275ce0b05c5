"""The OpenAPI document is what strangers write their clients from."""

from __future__ import annotations

from typing import Any

from gateway.openapi import STORED, check, document
from gateway.routes.table import ENDPOINTS


def test_the_stored_document_is_that_of_the_routes() -> None:
    """The repository would promise something else than the gateway does."""
    assert check(), f"run: python -m gateway.openapi > {STORED}"


def test_every_endpoint_documents_its_errors() -> None:
    """A client would meet an answer that it was never told about."""
    found = document()
    assert found["openapi"].startswith("3.1")
    for endpoint in ENDPOINTS:
        operation = found["paths"][endpoint.path][endpoint.method.lower()]
        statuses = set(operation["responses"])
        assert {str(status) for status in endpoint.answers} <= statuses
        if endpoint.access.signed_in:
            assert "401" in statuses
            assert operation["security"]
        for status in endpoint.problems:
            assert "application/problem+json" in operation["responses"][str(status)]["content"]


def test_every_reference_leads_somewhere() -> None:
    """Generators of clients would stop at the document."""
    found = document()
    schemas = found["components"]["schemas"]

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [ref for each in value.values() for ref in references(each)]
        if isinstance(value, list):
            return [ref for each in value for ref in references(each)]
        return []

    missing = {ref for ref in references(found) if ref.removeprefix("#/components/schemas/") not in schemas}
    assert not missing
