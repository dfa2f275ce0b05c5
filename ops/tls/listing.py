"""What certificates say of themselves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.stack.errors import StackError

if TYPE_CHECKING:
    from cryptography import x509

# Imported where there are certificates: the supervisor and plain processes need none of it.
# ruff: noqa: PLC0415

AUTHORITY = "authority"


def listed(ca: Path, files: Iterable[tuple[str, Path]]) -> list[dict[str, Any]]:
    """Name, serial number (hex), hosts, begin, end (datetimes), days left, whether the authority that signs now has signed it
    (`current`) and whether one that is believed has (`believed`), of each file that is there. The authority is the first one in
    `ca`, whose key may be elsewhere.

    Raises:
        StackError: a file is there and cannot be read.
    """
    from ops.tls.authority import hosts_in

    believed = _read(ca) if ca.exists() else []
    issuers = [one.subject for one in believed]
    found: list[dict[str, Any]] = []
    now = dt.datetime.now(dt.UTC)
    for name, file in files:
        if name == AUTHORITY and believed:
            one = believed[0]
        elif file.exists():
            one = _read(file)[0]
        else:
            continue
        found.append(
            {
                "name": name,
                "serial": f"{one.serial_number:x}",
                "hosts": hosts_in(one),
                "not_before": one.not_valid_before_utc,
                "not_after": one.not_valid_after_utc,
                "days_left": round((one.not_valid_after_utc - now).total_seconds() / 86400, 2),
                "current": one.issuer in issuers[:1],
                "believed": one.issuer in issuers,
            }
        )
    return found


def ends_in_text(found: Iterable[dict[str, Any]]) -> str:
    """The ends as Prometheus's text format has them, for a collector that reads files."""
    from ops.tls.metrics import ENDS_HELP, ENDS_NAME

    lines = [f"# HELP {ENDS_NAME} {ENDS_HELP}", f"# TYPE {ENDS_NAME} gauge"]
    lines += [f'{ENDS_NAME}{{file="{one["name"]}.pem"}} {one["not_after"].timestamp():.0f}' for one in found]
    return "".join(f"{line}\n" for line in lines)


def _read(file: Path) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        raise StackError(
            f"The certificate {file} cannot be read: {error}. Make it anew: athena certs rotate"
        ) from error
