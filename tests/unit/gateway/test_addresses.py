"""Whose call it is: the address that limits and the audit log go by."""

from __future__ import annotations

import pytest

from gateway.http.addresses import Proxies, network_of, normal
from gateway.http.cors import Cors


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"), (" 192.0.2.7 ", "192.0.2.7"), ("192.0.2.7:443", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"), ("[::ffff:192.0.2.7]:443", "192.0.2.7"), ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"), ("[2001:db8::1]:65535", "2001:db8::1"), ("fe80::1%eth0", "fe80::1"),
        ("", None), ("unknown", None), ("_hidden", None), ("192.0.2.7:port", None), ("192.0.2.7:", None), ("192.0.2", None),
        ("192.0.2.256", None), ("0300.0.2.7", None), ("1.2.3.4, 5.6.7.8", None), ("[2001:db8::1", None), ("[2001:db8::1]x", None),
        ("2001:db8::1::2", None), ("192.0.2.7\r\nX: y", None), ("\x00", None), ("١٩٢.0.2.7", None), ("1" * 5000, None),
    ],
)  # fmt: skip
def test_an_address_has_one_spelling(given: str, expected: str | None) -> None:
    """The same client would have several limits, or a text of somebody's choice would stand in the audit log."""
    assert normal(given) == expected


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("unknown", "unknown"),
    ],
)
def test_one_ipv6_connection_is_one_address(address: str, network: str) -> None:
    """Somebody with an IPv6 line would have 2^64 limits, and could guess passwords from as many addresses."""
    assert network_of(address) == network


def client(header: str, *values: str, peer: str = "10.0.0.1", believed: str = "x-forwarded-for") -> str:
    headers = [(header.encode(), value.encode("latin-1")) for value in values]
    return Proxies("10.0.0.0/8, 2001:db8:ffff::/48", believed).client_of(peer, headers)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        (["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
        (["1.1.1.1", "203.0.113.7", "10.0.0.2"], "203.0.113.7"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (["203.0.113.7, garbage"], "10.0.0.1"),
        (["203.0.113.7, garbage, 10.0.0.2"], "10.0.0.2"),
        (["2001:db8:ffff::2"], "2001:db8:ffff::2"),
        (["2001:db8::7, 2001:db8:ffff::2"], "2001:db8::7"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
        ([", , ,"], "10.0.0.1"),
        (["1.1.1.1," + "10.0.0.2," * 100 + "10.0.0.2"], "10.0.0.2"),
    ],
)
def test_the_last_hop_that_is_no_proxy_of_ours_is_the_client(values: list[str], expected: str) -> None:
    """A client could choose its address by writing it into the header first."""
    assert client("x-forwarded-for", *values) == expected


def test_a_stranger_is_not_believed() -> None:
    """Anybody could take any address."""
    assert client("x-forwarded-for", "203.0.113.7", peer="192.0.2.1") == "192.0.2.1"
    assert Proxies("", "x-forwarded-for").client_of("127.0.0.1", [(b"x-forwarded-for", b"203.0.113.7")]) == "127.0.0.1"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["for=203.0.113.7"], "203.0.113.7"),
        (['For="[2001:db8::7]:4711";proto=https;by=10.0.0.1'], "2001:db8::7"),
        (["proto=http; for=203.0.113.7, for=10.0.0.2"], "203.0.113.7"),
        (["for=1.1.1.1", "for=203.0.113.7;host=a"], "203.0.113.7"),
        (["for=_hidden"], "10.0.0.1"),
        (["for=203.0.113.7, for=unknown, for=10.0.0.2"], "10.0.0.2"),
        (["by=203.0.113.7"], "10.0.0.1"),
        (["xfor=203.0.113.7"], "10.0.0.1"),
        (['for="203.0.113.7'], "10.0.0.1"),
    ],
)
def test_forwarded_is_read_as_the_rfc_says(values: list[str], expected: str) -> None:
    """Behind a proxy that writes RFC 7239, everybody would share the proxy's limit."""
    assert client("forwarded", *values, believed="forwarded") == expected


def test_only_the_configured_header_counts() -> None:
    """A proxy that writes one of the two headers passes the client's own other one on."""
    assert client("forwarded", "for=203.0.113.7") == "10.0.0.1"
    assert client("x-forwarded-for", "203.0.113.7", believed="forwarded") == "10.0.0.1"


@pytest.mark.parametrize("networks", ["10.0.0.1/8", "proxy.example", "10.0.0.0/33", "*"])
def test_networks_that_are_none_stop_the_start(networks: str) -> None:
    """A proxy's word would be ignored, or a stranger's believed, and nobody would know why."""
    with pytest.raises(SystemExit, match="ATHENA_TRUSTED_PROXIES"):
        Proxies(networks, "x-forwarded-for")


@pytest.mark.parametrize("origins", ["*", "https://*.example.com", "portal.example.com", "https://a.example/", "null"])
def test_origins_that_are_none_stop_the_start(origins: str) -> None:
    """A page would be let in, or kept out, by something that only looks like a rule."""
    with pytest.raises(SystemExit, match="ATHENA_CORS_ORIGINS"):
        Cors(origins)
