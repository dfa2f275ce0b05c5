"""`certs [rotate|renew|authority]`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import typer

from ops.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from ops.stack.home import Home

group = typer.Typer(help="The certificates between the services.", rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="certs", invoke_without_command=True)


@group.callback()
def certs(context: typer.Context, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Make the private authority and the certificates that are missing, and list them with their ends."""
    if context.invoked_subcommand is not None:
        return
    place = Home(home)
    place.create()
    place.certificates.create_missing()
    _list(place, as_json)


@group.command()
def rotate(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Make every service's certificate anew; running servers take theirs up, and no request fails."""
    from ops.tls.rotation import rotate as run  # noqa: PLC0415 - commands import what they use, so that --help is fast

    _run(Home(home), run, as_json)


@group.command()
def renew(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Make anew what ends soon, as a running stack does once a day by itself."""
    from ops.tls.rotation import renew as run  # noqa: PLC0415

    _run(Home(home), run, as_json)


@group.command()
def authority(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Replace the authority: both are believed from now on, and the next `rotate` signs with the new one."""
    from ops.tls.rotation import replace_authority  # noqa: PLC0415

    _run(Home(home), replace_authority, as_json)


def left(days: float) -> str:
    """How long a certificate is still good."""
    return f"{days:>8.1f} days left" if days > 0 else f"ENDED {-days:.1f} days ago"


def _run(home: Home, change: Callable[[Home], Coroutine[Any, Any, list[str]]], as_json: bool) -> None:
    home.create()
    sentences = asyncio.run(change(home))
    if not as_json:
        for sentence in sentences:
            print(sentence)
    _list(home, as_json)


def _list(home: Home, as_json: bool) -> None:
    found = home.certificates.listing()
    if as_json:
        told = [
            one | {"not_before": one["not_before"].isoformat(), "not_after": one["not_after"].isoformat()}
            for one in found
        ]
        print(json.dumps({"ca": str(home.certificates.ca), "tls": home.tls, "certificates": told}))
        return
    print(f"authorities that are believed: {home.certificates.ca}")
    for one in found:
        print(f"  {one['name']:<14} {left(one['days_left'])}, until {one['not_after']:%Y-%m-%d %H:%M} UTC")
    ends = {one["name"]: one["not_after"] for one in found}
    if bounded := [name for name, end in ends.items() if name != "authority" and end == ends.get("authority")]:
        print(f"The authority ends before its time for {', '.join(bounded)}. Make a new one: athena certs authority")
