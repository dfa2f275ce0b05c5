"""Certificates that were lost, spoilt, or left to end: what can be made good is, and the rest is said."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from ops.stack import renewal
from ops.stack.errors import StackError
from ops.stack.home import Home
from ops.tls import authority
from ops.tls.context import client_context, trusting
from ops.tls.services import SERVICES
from ops.tls.store import ALL, Certificates
from tests.stack import wait_until

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    certificates = Certificates(tmp_path / "certs")
    certificates.create_missing()
    return certificates


def believed(certificates: Certificates) -> bool:
    """Whether every certificate is signed by an authority that is believed."""
    authorities = x509.load_pem_x509_certificates(certificates.ca.read_bytes())

    def signed(name: str) -> bool:
        one = x509.load_pem_x509_certificate(certificates.file(name).read_bytes())
        for issuer in authorities:
            try:
                one.verify_directly_issued_by(issuer)
            except Exception:  # noqa: S112 - of another key, or another name
                continue
            return True
        return False

    return all(map(signed, ALL))


def serials(certificates: Certificates) -> dict[str, str]:
    return {one["name"]: one["serial"] for one in certificates.listing()}


@pytest.mark.parametrize("spoil", [Path.unlink, lambda ca: ca.write_text("spoilt")], ids=["lost", "spoilt"])
def test_the_authorities_are_written_again_from_the_key(made: Certificates, spoil: Callable[[Path], object]) -> None:
    """Otherwise one lost public file would mean new certificates for everybody."""
    before = serials(made)
    spoil(made.ca)
    with pytest.raises(StackError, match="athena certs"):
        trusting(made.ca)
    with pytest.raises(StackError, match="athena certs"):
        client_context(made.files("gateway"), "kafka")
    assert made.create_missing() == []
    assert serials(made) == before
    assert believed(made)


def test_who_is_believed_no_longer_gets_a_new_certificate(made: Certificates) -> None:
    """Otherwise a lost file in the middle of a change of authority would leave services that nobody believes."""
    made.new_authority()
    made.ca.unlink()
    made.create_missing()
    assert sorted(made.renew_ending()) == sorted(ALL)
    assert believed(made)


@pytest.mark.parametrize("name", ["owner", "kafka"])
def test_a_spoilt_certificate_is_made_anew(made: Certificates, name: str) -> None:
    """Otherwise the advice to make it anew would end where it began."""
    made.file(name).write_text("spoilt")
    with pytest.raises(StackError, match="certs rotate"):
        made.listing()
    with pytest.raises(StackError, match="certs rotate"):
        made.new_authority()
    assert made.renew_ending() == [name]
    made.file(name).write_text("spoilt")
    made.rotate()
    assert believed(made)


def test_an_authority_that_is_kept_elsewhere_is_asked_for_when_it_is_needed(made: Certificates, tmp_path: Path) -> None:
    """Otherwise who keeps it safe would get a second authority that nobody believes, or a traceback."""
    before = serials(made)
    kept = made.authority.rename(tmp_path / "safe.pem")
    assert made.create_missing() == []
    assert made.renew_ending() == []
    assert serials(made) == before
    for change in (made.rotate, made.new_authority, lambda: made.visitor().__enter__()):
        with pytest.raises(StackError, match="Put it back"):
            change()
    made.file("worker").unlink()
    with pytest.raises(StackError, match="Put it back"):
        made.create_missing()
    assert not made.authority.exists()
    kept.rename(made.authority)
    assert made.create_missing() == ["worker"]
    assert believed(made)


def _ended(made: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority, "AUTHORITY_DAYS", 0)
    made.new_authority()


def _encrypted(made: Certificates, _: pytest.MonkeyPatch) -> None:
    whole = made.authority.read_bytes()
    key = load_pem_private_key(whole, None)
    closed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    made.authority.write_bytes(closed + authority.certificates_of(whole))


def _anothers(made: Certificates, _: pytest.MonkeyPatch) -> None:
    former = authority.certificates_of(made.authority.read_bytes())
    made.new_authority()
    key = made.authority.read_bytes().split(b"-----BEGIN CERTIFICATE")[0]
    made.authority.write_bytes(key + former)


def _spoilt(made: Certificates, _: pytest.MonkeyPatch) -> None:
    made.authority.write_text("spoilt")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_ended, "has ended"),
        (_encrypted, "encrypted"),
        (_anothers, "not that of its certificate"),
        (_spoilt, "cannot be"),
    ],
)
def test_an_authority_that_is_of_no_use_is_said_and_nothing_is_written(
    made: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Certificates, pytest.MonkeyPatch], None],
    said: str,
) -> None:
    """Otherwise every service would get a certificate that nobody believes."""
    before = {name: made.file(name).read_bytes() for name in ALL}
    spoil(made, monkeypatch)
    with pytest.raises(StackError, match=said):
        made.rotate()
    assert {name: made.file(name).read_bytes() for name in ALL} == before


def test_two_who_make_certificates_at_once_make_them_once(tmp_path: Path) -> None:
    """Otherwise two starts at the same moment would leave certificates of an authority that the other one replaced."""
    folder = tmp_path / "certs"
    script = "import sys, pathlib; from ops.tls.store import Certificates; Certificates(pathlib.Path(sys.argv[1])).create_missing()"
    running = [subprocess.Popen([sys.executable, "-c", script, str(folder)], cwd=CHECKOUT) for _ in range(6)]
    assert [one.wait(60) for one in running] == [0] * len(running)
    assert believed(Certificates(folder))


def test_the_ends_of_all_certificates_are_in_a_file_for_prometheus(made: Certificates) -> None:
    """Otherwise nobody would be warned of those whose process tells no figures: the broker's, the database's, the authority's."""
    lines = made.ends.read_text().splitlines()
    told = {line.partition('"')[2].partition('"')[0] for line in lines if not line.startswith("#")}
    assert told == {f"{name}.pem" for name in ("authority", *(one.name for one in SERVICES))}
    worker = next(one for one in made.listing() if one["name"] == "worker")
    end = int(worker["not_after"].timestamp())
    assert f'athena_certificate_ends_timestamp_seconds{{file="worker.pem"}} {end}' in lines


def test_a_stack_that_runs_looks_after_its_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a stack that is never stopped would end with its certificates."""
    home = Home(tmp_path / "home")
    home.create()
    home.choose(tls=True)
    made = home.certificates
    made.create_missing()
    before = serials(made)
    worker = next(one for one in SERVICES if one.name == "worker")
    made.file("worker").write_bytes(authority.issue(made.authority.read_bytes(), worker, (), dt.timedelta(seconds=5)))
    monkeypatch.setattr(renewal, "EVERY_SECONDS", 0.1)
    monkeypatch.setitem(os.environ, "PYTHONPATH", str(CHECKOUT))
    said: list[str] = []

    async def run() -> None:
        task = asyncio.create_task(renewal.renew_daily(home, said.append))
        try:
            await asyncio.to_thread(wait_until, lambda: made.ends_soonest()["days_left"] > 80, 60, "not renewed")  # type: ignore[index]
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    after = serials(made)
    assert {name for name in before if before[name] != after[name]} == {"worker"}
    assert said == []
