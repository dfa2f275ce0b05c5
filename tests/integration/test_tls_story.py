"""The product with certificates on every line: the main story, the tools, and new certificates under load."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from ops.seed import DATA
from ops.tls.authority import issue
from ops.tls.services import SERVICES
from tests.client import ROUTE_L1_L2_ALL, Api
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.xdist_group("tls")
#: Requests at once while certificates change; each is made twice: on a line that stays open, and on a new one.
CALLERS = 3


@pytest.fixture(scope="module")
def people(protected: Stack) -> Api:
    return Api(protected.gateway, protected.home.trust)


def test_a_request_goes_its_whole_way(protected: Stack, people: Api) -> None:
    """Otherwise who protects the lines would lose the product."""
    assert protected.gateway.startswith("https://")
    request = people.submit(**ROUTE_L1_L2_ALL)
    for approver in ("l1.emea", "l2", "l2b"):
        request = people.approved(approver, request)
    assert request["status"] == "approved"
    answer = people.decide("l2b", "rollback", request, comment="looked again")
    assert answer.status_code == 200, answer.text
    assert people.read("sam.sales", answer.json())["status"].startswith("pending")
    verdict = people.get("auditor", "/audit/verify")
    assert verdict.json()["ok"], verdict.text
    # Again and again: each stops consumers in mid-fetch, which once waited for the broker's farewell.
    verdicts = [people.get("auditor", "/audit/verify", requestId=request["id"]) for _ in range(10)]
    assert all(one.status_code == 200 and one.json()["ok"] for one in verdicts), [one.text for one in verdicts]


def test_every_tool_works(protected: Stack, people: Api, tmp_path: Path) -> None:
    """Otherwise an operator could run the protected product, and not look after it."""
    request = people.read("sam.sales", people.submit())
    rules = str(DATA / "rules.yaml")
    for command in (
        ("topics", "--check"),
        ("audit", "verify"),
        ("audit", "prove", "--request", request["id"], "--out", str(tmp_path / "proof.json")),
        ("dead-letters", "list"),
        ("projector", "rebuild"),
        ("rules", "push", rules),
        ("seed",),
        ("status",),
    ):
        done = protected.run(*command)
        assert done.returncode == 0, f"athena {' '.join(command)}: {done.stdout}{done.stderr}"
    assert "days left" in protected.run("status").stdout
    listed = json.loads(protected.run("certs", "--json").stdout)
    assert listed["tls"]
    assert min(one["days_left"] for one in listed["certificates"]) > 89


def _serials(stack: Stack) -> dict[str, str]:
    return {one["name"]: one["serial"] for one in stack.home.certificates.listing()}


def _ended(stack: Stack, name: str) -> bytes:
    service = next(one for one in SERVICES if one.name == name)
    return issue(stack.home.certificates.authority.read_bytes(), service, (), dt.timedelta(days=-1))


def test_a_certificate_that_has_ended_is_said_and_renewed_alone(protected: Stack) -> None:
    """Otherwise an operator's first sign of it would be that nothing works."""
    before = _serials(protected)
    protected.home.certificates.file("notifier").write_bytes(_ended(protected, "notifier"))
    told = protected.run("status")
    assert told.returncode == 1
    assert "ENDED" in told.stdout
    assert "notifier" in told.stdout
    done = protected.run("certs", "renew")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "made anew: notifier\n" in done.stdout
    assert done.stdout.count("shows certificate") == 4
    after = _serials(protected)
    assert {name for name in before if before[name] != after[name]} == {"notifier"}
    assert protected.run("status").returncode == 0


@pytest.mark.parametrize("what", ["the tools'", "the broker's"])
def test_rotating_repairs_what_is_broken_while_the_stack_runs(protected: Stack, people: Api, what: str) -> None:
    """Otherwise a spoilt file would be a stack that has to be stopped, or that nobody can mend at all."""
    certificates = protected.home.certificates
    if what == "the tools'":
        certificates.file("owner").write_bytes(_ended(protected, "owner"))
    else:
        certificates.file("kafka").write_text("spoilt")
    done = protected.run("certs", "rotate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "before the change: " in done.stdout
    assert done.stdout.count("shows certificate") == 4
    assert protected.run("topics", "--check").returncode == 0
    assert people.read("sam.sales", people.submit())["status"] == "pending_l1"


def test_every_process_tells_when_its_certificate_and_the_authority_end(protected: Stack) -> None:
    """Otherwise nobody would be warned of the one that ends."""
    for process in ("gateway", "worker", "projector"):
        text = httpx.get(protected.endpoints["metrics"][process], timeout=20).text
        for file in (f"{process}.pem", "ca.pem"):
            assert f'athena_certificate_ends_timestamp_seconds{{file="{file}"}}' in text, process


@dataclass
class Traffic:
    """Calls that go on until they are told to stop: reads and submissions, on lines that stay and on new ones."""

    stack: Stack
    people: Api
    made: int = 0
    failed: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        url = f"{self.stack.gateway}/api/v1/requests"
        while not self.stopped.is_set():
            try:
                kept = self.people.get("sam.sales", "/requests")
                filed = self.people.post("sam.sales", "/requests", _small())
                # A context of its own each time: no session is resumed, the certificate is shown anew.
                with httpx.Client(verify=self.stack.home.trust, timeout=40) as client:
                    fresh = client.get(url, headers={"Authorization": f"Bearer {self.people.token('sam.sales')}"})
                self._count(kept, {200}, filed, {201, 202}, fresh, {200})
            except httpx.HTTPError as error:
                self.failed.append(repr(error))

    def _count(self, *pairs: httpx.Response | set[int]) -> None:
        for answer, expected in zip(pairs[::2], pairs[1::2], strict=True):
            self.made += 1
            if answer.status_code not in expected:
                self.failed.append(f"{answer.status_code} {answer.text[:300]}")


def _small() -> dict[str, str]:
    return {
        "title": "A small trip",
        "category_id": "travel",
        "reason_id": "travel-general",
        "amount": "10.00",
        "currency": "EUR",
    }


@pytest.mark.timeout(240)
def test_new_certificates_under_load_fail_no_request(
    protected: Stack, people: Api, record_property: Callable[[str, object], None]
) -> None:
    """Otherwise certificates would be left to end, because changing them costs requests."""
    before = {one["name"]: one["serial"] for one in protected.home.certificates.listing()}
    traffic = Traffic(protected, people)
    people.token("sam.sales")
    threads = [threading.Thread(target=traffic.run) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: traffic.made > 10 * CALLERS, 60, "no calls are made")
        for command in (("certs", "rotate"), ("certs", "authority"), ("certs", "rotate")):
            done = protected.run(*command)
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout.count("shows certificate") == 4, done.stdout
        # Everything that was open is closed and made again, with the new certificates, while the calls go on.
        for process in ("worker", "projector"):
            protected.kill(process)
        enough = traffic.made + 10 * CALLERS
        wait_until(lambda: traffic.made > enough, 60, "no calls are made after the change")
    finally:
        traffic.stopped.set()
        for thread in threads:
            thread.join(60)
    record_property("calls", traffic.made)
    assert not traffic.failed, f"{len(traffic.failed)} of {traffic.made}: {traffic.failed[:3]}"
    after = {one["name"]: one["serial"] for one in protected.home.certificates.listing()}
    assert not {name for name in before if before[name] == after[name]}
    assert people.read("sam.sales", people.submit())["status"] == "pending_l1"
    assert protected.run("audit", "verify").returncode == 0
