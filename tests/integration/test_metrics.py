"""Every process tells Prometheus how it is."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.client import Api
from tests.stack import Stack, wait_until

EXPECTED = {
    "gateway": "athena_gateway_",
    "worker": "athena_worker_commands",
    "projector": "athena_projector_",
}


@pytest.mark.parametrize("process", EXPECTED)
def test_a_process_can_be_scraped(stack: Stack, api: Api, process: str) -> None:
    """Otherwise operations would learn of trouble from the users."""
    api.read("sam.sales", api.submit())
    answer = httpx.get(stack.endpoints["metrics"][process], timeout=10)
    assert answer.status_code == 200
    families = list(text_string_to_metric_families(answer.text))
    assert [family.name for family in families if family.name.startswith(EXPECTED[process])], answer.text[:2000]
    assert any(family.name == "process_cpu_seconds" for family in families)


def test_the_worker_counts_what_it_decides(stack: Stack, api: Api) -> None:
    """Otherwise a worker that decides nothing would look well."""

    def accepted() -> float:
        answer = httpx.get(stack.endpoints["metrics"]["worker"], timeout=10)
        return sum(
            sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == "athena_worker_commands_total"
            and sample.labels == {"type": "Withdraw", "result": "accepted"}
        )

    before = accepted()
    request = api.submit()
    assert api.post("sam.sales", f"/requests/{request['id']}/withdraw", {}).status_code == 200
    assert accepted() >= before + 1


def test_the_worker_tells_its_lag(stack: Stack, api: Api) -> None:
    """Otherwise a stream that stands still would look like one with nothing to do."""

    def gauges() -> dict[str, float]:
        text = httpx.get(stack.endpoints["metrics"]["worker"], timeout=10).text
        found = [
            family for family in text_string_to_metric_families(text) if family.name == "athena_worker_lag_records"
        ]
        return {sample.labels["topic"]: sample.value for family in found for sample in family.samples}

    api.submit()
    names = {"athena.commands", "athena.reference-commands", "athena.security"}
    wait_until(lambda: set(gauges()) == names, 20, "the worker does not tell its lag")
    wait_until(lambda: gauges()["athena.reference-commands"] == 0, 20, "reference commands are not caught up")


def test_no_metric_names_a_person_or_a_request(stack: Stack, api: Api) -> None:
    """Otherwise the metrics would grow without end, and tell what only a few may know."""
    request = api.submit()
    for address in stack.endpoints["metrics"].values():
        text = httpx.get(address, timeout=10).text
        assert request["id"] not in text
        assert "sam.sales" not in text


def test_metrics_are_not_on_the_public_port(stack: Stack) -> None:
    """Otherwise anybody who reaches the API could read them."""
    answer = httpx.get(f"{stack.gateway}/metrics", timeout=10)
    assert answer.status_code == 404
    assert httpx.get(f"{stack.gateway}/livez", timeout=10).status_code == 200
    assert httpx.get(f"{stack.gateway}/readyz", timeout=10).status_code == 200
