"""Who is not let in, and what each service may not do, on a stack with certificates on every line."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import ssl
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    for_code,
)

from ops import kafka_acls
from ops.kafka_acls import GRANTS, SERVICES, Kind, May
from ops.kafka_clients import Kafka
from ops.stack.errors import StackError
from ops.stack.home import LOOPBACK
from ops.tls.authority import issue
from ops.tls.context import Files, trusting
from ops.tls.rotation import certificate_at
from ops.tls.services import Service
from ops.tls.store import Certificates
from schemas import topics
from tests.stack import Stack

pytestmark = pytest.mark.xdist_group("tls")
ANSWER_SECONDS = 10.0


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates with the right names, of another authority."""
    other = Certificates(tmp_path_factory.mktemp("foreign") / "certs")
    other.create_missing()
    return other


def _expired(stack: Stack, name: str, folder: Path, *, server: bool = False) -> Path:
    authority = stack.home.certificates.authority.read_bytes()
    file = folder / f"{name}.pem"
    file.write_bytes(issue(authority, Service(name, server=server), (LOOPBACK,), dt.timedelta(seconds=-1)))
    return file


def _caller(stack: Stack, cert: Path | None, ca: Path | None = None) -> ssl.SSLContext:
    context = trusting(ca or stack.home.certificates.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # a refusal comes within the handshake
    if cert is not None:
        context.load_cert_chain(cert)
    return context


def _listeners(stack: Stack) -> list[str]:
    """The broker's and the controller's."""
    return [f"{LOOPBACK}:{stack.home.port(name)}" for name in ("kafka", "kafka-controller")]


def test_kafka_refuses_a_foreign_an_expired_and_a_missing_certificate(
    protected: Stack, foreign: Certificates, tmp_path: Path
) -> None:
    """Otherwise anyone on the network could write approvals into the log, or read everybody's requests."""
    owner = protected.home.certificates.file("owner")
    for place in _listeners(protected):
        certificate_at(place, _caller(protected, owner))
        for wrong in (foreign.file("owner"), _expired(protected, "owner", tmp_path), None):
            with pytest.raises(OSError):  # ssl.SSLError, or the line is closed
                certificate_at(place, _caller(protected, wrong))
                pytest.fail(f"{place} let {wrong} in")


def test_postgresql_wants_a_certificate_of_the_role_and_nothing_else_will_do(
    protected: Stack, foreign: Certificates, tmp_path: Path
) -> None:
    """Otherwise a password that got out, or another service's certificate, would open the database."""
    home = protected.home
    place = f"{LOOPBACK}:{home.port('postgres')}"
    plain = f"postgresql://athena_owner:{home.password('athena_owner')}@{place}/athena"

    async def opens(url: str, context: ssl.SSLContext | bool) -> bool:
        try:
            connection = await asyncpg.connect(url, ssl=context, timeout=ANSWER_SECONDS)
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError, ssl.SSLError, OSError):
            return False
        await connection.close()
        return True

    def with_(cert: Path | None) -> ssl.SSLContext:
        return _caller(protected, cert)

    async def story() -> dict[str, bool]:
        return {
            "its own": await opens(plain, with_(home.certificates.file("owner"))),
            "no TLS, right password": await opens(plain, False),
            "no certificate, right password": await opens(plain, with_(None)),
            "a foreign authority's": await opens(plain, with_(foreign.file("owner"))),
            "an expired one": await opens(plain, with_(_expired(protected, "owner", tmp_path))),
            "another service's": await opens(plain, with_(home.certificates.file("gateway"))),
            "the server's": await opens(plain, with_(home.certificates.file("postgres"))),
        }

    found = asyncio.run(story())
    assert [name for name, open_ in found.items() if open_] == ["its own"]
    least = asyncio.run(_value(protected.postgres, "SHOW ssl_min_protocol_version"))
    assert least == "TLSv1.2"


def test_no_server_speaks_what_is_older_than_tls_1_2(protected: Stack) -> None:
    """Otherwise somebody on the line could talk both sides down to what can be broken."""
    owner = protected.home.certificates.file("owner")
    postgres = f"{LOOPBACK}:{protected.home.port('postgres')}"
    gateway = urlsplit(protected.gateway).netloc
    for place in (*_listeners(protected), postgres, gateway):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = _caller(protected, owner)
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
            assert certificate_at(place, context, place == postgres)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        # The gateway hangs up without saying why: uvloop passes no alert on.
        said = "EOF" if place == gateway else r"(?i)version|protocol"
        with pytest.raises(ssl.SSLError, match=said):
            certificate_at(place, context, place == postgres)


def test_no_server_speaks_tls_1_2_with_ciphers_in_blocks(protected: Stack) -> None:
    """Otherwise what is said could be read by measuring how a server answers broken padding."""
    owner = protected.home.certificates.file("owner")
    postgres = f"{LOOPBACK}:{protected.home.port('postgres')}"
    for place in (*_listeners(protected), postgres, urlsplit(protected.gateway).netloc):
        for ciphers in (
            "ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA256",
            "ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES128-SHA",
        ):
            context = _caller(protected, owner)
            context.set_ciphers(ciphers)
            with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure|no.shared.cipher|eof"):
                certificate_at(place, context, place == postgres)
        for ciphers in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"):
            context = _caller(protected, owner)
            context.set_ciphers(ciphers)
            certificate_at(place, context, place == postgres)


async def _value(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url, timeout=ANSWER_SECONDS)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def test_callers_refuse_a_server_that_is_not_ours(protected: Stack, foreign: Certificates) -> None:
    """Otherwise who stands between two services could pose as the broker, the database or the gateway."""
    owner = protected.home.certificates.file("owner")
    postgres = f"{LOOPBACK}:{protected.home.port('postgres')}"
    for place in (*_listeners(protected), postgres, urlsplit(protected.gateway).netloc):
        with pytest.raises(ssl.SSLCertVerificationError):
            certificate_at(place, _caller(protected, owner, foreign.ca), place == postgres)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{protected.gateway}/livez", verify=trusting(foreign.ca), timeout=ANSWER_SECONDS)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{protected.gateway.replace('https', 'http')}/livez", timeout=ANSWER_SECONDS)


def test_callers_refuse_a_gateway_whose_certificate_has_ended(protected: Stack, tmp_path: Path) -> None:
    """Otherwise a stolen key would be good for ever."""
    file = protected.home.certificates.file("gateway-https")
    good = file.read_bytes()
    try:
        file.write_bytes(_expired(protected, "gateway-https", tmp_path, server=True).read_bytes())
        with pytest.raises(httpx.ConnectError, match="expired"):
            httpx.get(f"{protected.gateway}/livez", verify=protected.home.trust, timeout=ANSWER_SECONDS)
    finally:
        file.write_bytes(good)
    assert httpx.get(f"{protected.gateway}/livez", verify=protected.home.trust, timeout=20).status_code == 200


def _as(stack: Stack, service: str) -> Kafka:
    return Kafka(stack.kafka.bootstrap, stack.home.certificates.files(service))


def _granted(may: May) -> set[tuple[str, str]]:
    return {(grant.service, grant.name) for grant in GRANTS if (grant.kind, grant.may) == (Kind.TOPIC, may)}


async def _reads(kafka: Kafka) -> set[str]:
    """The topics of which a fetch is answered."""
    found = set()
    for spec in topics.TOPICS:
        consumer = kafka.consumer(enable_auto_commit=False, auto_offset_reset="none", fetch_max_wait_ms=1)
        await consumer.start()
        try:
            part = TopicPartition(spec.name, 0)
            async with asyncio.timeout(ANSWER_SECONDS):
                await consumer._client._wait_on_metadata(spec.name)
                consumer.assign([part])
                consumer.seek(part, 0)
                await consumer.getmany(part, timeout_ms=200)
            found.add(spec.name)
        except TopicAuthorizationFailedError:
            pass
        finally:
            await consumer.stop()
    return found


async def _refused_writes(kafka: Kafka, names: set[str]) -> set[str]:
    producer = kafka.producer(acks="all", request_timeout_ms=int(ANSWER_SECONDS * 1000))
    await producer.start()
    refused = set()
    try:
        for name in sorted(names):
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await producer.send_and_wait(name, b"{}", key=b"intruder", partition=0)
            except TopicAuthorizationFailedError:
                refused.add(name)
    finally:
        await producer.stop()
    return refused


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_and_writes_its_own_topics_and_no_other(protected: Stack, service: str) -> None:
    """Otherwise who breaks into one process would have all of them: a gateway could write decisions."""
    every = {spec.name for spec in topics.TOPICS}
    kafka = _as(protected, service)
    readable = {name for who, name in _granted(May.READ) if who == service}
    writable = {name for who, name in _granted(May.WRITE) if who == service}
    assert asyncio.run(_reads(kafka)) == readable
    assert asyncio.run(_refused_writes(kafka, every - writable)) == every - writable


async def _joins(kafka: Kafka) -> None:
    consumer = kafka.consumer(topics.OUTCOMES, group_id=topics.WORKER_GROUP, client_id="intruder")
    try:
        await consumer.start()
        async with asyncio.timeout(ANSWER_SECONDS):
            await consumer.getmany(timeout_ms=2000)
    finally:
        await consumer.stop()


async def _claims(kafka: Kafka) -> None:
    producer = kafka.producer(transactional_id=f"{topics.COMMANDS}-0")
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await producer.start()
    finally:
        await producer.stop()


async def _removes_the_audit_log(kafka: Kafka) -> None:
    admin = kafka.admin()
    await admin.start()
    try:
        for _, code in (await admin.delete_topics([topics.AUDIT])).topic_error_codes:
            if code:
                raise for_code(code)
    finally:
        await admin.close()


@pytest.mark.parametrize(
    ("attack", "refusal"),
    [
        (_joins, GroupAuthorizationFailedError),
        (_claims, TransactionalIdAuthorizationFailed),
        (_removes_the_audit_log, TopicAuthorizationFailedError),
        (kafka_acls.apply, StackError),
    ],
)
def test_a_gateway_cannot_take_the_workers_place_nor_change_the_cluster(
    protected: Stack, attack: Callable[[Kafka], Coroutine[None, None, None]], refusal: type[BaseException]
) -> None:
    """Otherwise a broken-into gateway could stop all deciding, decide itself, or remove the audit log."""
    with pytest.raises(refusal):
        asyncio.run(attack(_as(protected, "gateway")))


def test_a_certificate_that_no_list_names_may_nothing(protected: Stack, tmp_path: Path) -> None:
    """Otherwise every new service would begin with rights that nobody gave it."""
    file = tmp_path / "stranger.pem"
    made = issue(protected.home.certificates.authority.read_bytes(), Service("stranger"), (), dt.timedelta(days=1))
    file.write_bytes(made)
    stranger = Kafka(protected.kafka.bootstrap, Files(protected.home.certificates.ca, file, file))
    assert asyncio.run(_reads(stranger)) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="the servers have users of their own under root alone")
def test_a_superuser_of_the_database_does_not_get_at_the_broker_nor_at_our_folders(protected: Stack) -> None:
    """Otherwise who has the database has the log as well: both could be rewritten together, and nothing would tell."""
    servers = Path(protected.home.choices()["servers"])
    mine, theirs = servers / "postgres-tls", servers / "kafka-tls"
    assert "PRIVATE KEY" in str(asyncio.run(_value(protected.postgres, f"SELECT pg_read_file('{mine}/postgres.pem')")))
    with pytest.raises(asyncpg.PostgresError, match="Permission denied"):
        asyncio.run(_value(protected.postgres, f"SELECT pg_read_file('{theirs}/kafka.pem')"))
    for place in (servers, mine, theirs, servers / "kafka", servers / "kafka" / "data"):
        with pytest.raises(asyncpg.PostgresError, match="failed"):
            asyncio.run(_value(protected.postgres, f"COPY (SELECT 1) TO PROGRAM 'ln -s /etc {place}/planted'"))
        assert not (place / "planted").exists()
