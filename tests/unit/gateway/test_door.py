"""How many connections there may be, and for whom."""

from __future__ import annotations

from gateway.http.addresses import Proxies
from gateway.server.door import SPARE_CONNECTIONS, Door, Verdict
from ops.settings import Settings


def door(**settings: int) -> Door:
    return Door(Settings(**settings), Proxies("10.0.0.0/8", "x-forwarded-for"))  # type: ignore[arg-type]


def test_an_address_gets_its_share_and_what_it_gives_back() -> None:
    """One machine could take all connections, or a client would be kept out for ever."""
    found = door(connections_per_address=2)
    assert [found.enter("192.0.2.7") for _ in range(3)] == [Verdict.OPEN, Verdict.OPEN, Verdict.TOO_MANY]
    assert found.enter("192.0.2.8") is Verdict.OPEN
    for _ in range(3):
        found.leave("192.0.2.7")
    assert found.enter("192.0.2.7") is Verdict.OPEN


def test_a_network_of_ipv6_has_one_share_and_a_proxy_has_none() -> None:
    """A provider's customer could take all connections, or a proxy's clients would be refused together."""
    found = door(connections_per_address=1)
    assert found.enter("2001:db8::1") is Verdict.OPEN
    assert found.enter("2001:db8::2") is Verdict.TOO_MANY
    assert {found.enter("10.0.0.1") for _ in range(5)} == {Verdict.OPEN}


def test_the_last_places_are_for_probes() -> None:
    """A full gateway would look like a dead one."""
    found = door(connections=10)
    verdicts = [found.enter(f"192.0.2.{number}") for number in range(10 + SPARE_CONNECTIONS + 1)]
    assert verdicts == [Verdict.OPEN] * 10 + [Verdict.CROWDED] * SPARE_CONNECTIONS + [Verdict.SHUT]


def test_memory_is_bounded_by_the_connections_that_are_open() -> None:
    """Addresses that came once would be remembered for ever."""
    found = door()
    for number in range(10_000):
        found.enter(f"198.51.{number // 250}.{number % 250}")
        found.leave(f"198.51.{number // 250}.{number % 250}")
    assert not found._by_address
