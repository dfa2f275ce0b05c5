"""The private certificate authority and the certificates it signs: ECDSA P-256, X.509 v3, PEM.

The authority is one for its hosts alone (name constraints): who gets its key can be nobody else to a browser that believes it.
A service's file holds its private key and its chain, so that both are replaced in one step.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ops.tls.services import Service

ORGANISATION = "Athena Budget"
AUTHORITY_DAYS = 3650
#: A certificate holds from a little before it was made: clocks differ.
EARLIER = dt.timedelta(minutes=5)


def new_authority(name: str, hosts: Iterable[str]) -> bytes:
    """A new authority that can sign for these hosts and addresses, and names below them: its private key and certificate, in
    PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + dt.timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.NameConstraints([_tree(host) for host in hosts], None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(key) + certificate.public_bytes(Encoding.PEM)


def issue(authority: bytes, service: Service, names: Iterable[str], valid: dt.timedelta) -> bytes:
    """A new private key and its certificate for a service, in PEM; `names` are the hosts and addresses of a server.

    Raises:
        ValueError: the authority cannot be read, has ended, or may not sign for one of the names.
    """
    ca_key, ca = _read(authority)
    names = tuple(names)
    if beyond := [name for name in names if not permits(ca, name)]:
        raise ValueError(f"it may not sign for {', '.join(beyond)}")
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    if ca.not_valid_after_utc <= now:
        raise ValueError(f"it has ended on {ca.not_valid_after_utc:%Y-%m-%d}")
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH] * service.server + [ExtendedKeyUsageOID.CLIENT_AUTH] * service.client
    ca_identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(service.name))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + valid) - EARLIER)
        .not_valid_after(min(now + valid, ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_identifier), critical=False)
    )
    if service.server:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(name) for name in names]), critical=False)
    return _pem(key) + builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def permits(authority: x509.Certificate, host: str) -> bool:
    """Whether what it signs for the host is believed; one of a former release, without constraints, may sign for any."""
    try:
        trees = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    except x509.ExtensionNotFound:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        names = [tree.value for tree in trees if isinstance(tree, x509.DNSName)]
        return any(host == name or host.endswith(f".{name}") for name in names)
    networks = [ipaddress.ip_network(str(tree.value)) for tree in trees if isinstance(tree, x509.IPAddress)]
    return any(address in network for network in networks)


def certificates_of(pem: bytes) -> bytes:
    """The certificates of a PEM file that holds a key, too. Raises ValueError when it has none."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in x509.load_pem_x509_certificates(pem))


def hosts_in(certificate: x509.Certificate) -> list[str]:
    """The hosts and addresses that a certificate is good for; none for a client's."""
    try:
        named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(host.value) for host in named]


def _read(authority: bytes) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    try:
        key = load_pem_private_key(authority, None)
    except TypeError as error:
        raise ValueError(
            "its key is encrypted. Write it in plain, for its user alone: openssl pkey -in FILE"
        ) from error
    certificate = x509.load_pem_x509_certificate(authority)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError("its key is not that of its certificate")
    return key, certificate


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _tree(name: str) -> x509.GeneralName:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return x509.DNSName(name)
    prefix = 8 if address.version == 4 and address.is_loopback else address.max_prefixlen
    return x509.IPAddress(ipaddress.ip_network(f"{address}/{prefix}", strict=False))


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    # PKCS 8 without a password: Kafka reads nothing else, and the file's permissions protect it.
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
