"""`certs [rotate|authority]`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import typer

from ops.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from ops.stack.errors import StackError
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
def authority(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Replace the authority: both are believed from now on, and the next `rotate` signs with the new one."""
    from ops.tls.rotation import replace_authority  # noqa: PLC0415

    _run(Home(home), replace_authority, as_json)


def _run(home: Home, change: Callable[[Home], Coroutine[Any, Any, list[str]]], as_json: bool) -> None:
    from aiokafka.errors import KafkaError  # noqa: PLC0415
    from asyncpg import PostgresError  # noqa: PLC0415

    home.create()
    try:
        sentences = asyncio.run(change(home))
    except (OSError, TimeoutError, KafkaError, PostgresError) as error:
        raise StackError(
            f"The new certificates are written; a server did not take its own up: {error!r}. Again: athena certs rotate"
        ) from error
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
        print(f"  {one['name']:<14} {one['days_left']:>8.1f} days left, until {one['not_after']:%Y-%m-%d %H:%M} UTC")
