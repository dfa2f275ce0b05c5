"""`keys list|rotate|retire`: the keys that sign access tokens."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.options import DEFAULT_HOME, WRONG, HomeOption, JsonOption
from ops.stack.home import Home

if TYPE_CHECKING:
    from ops.token_keys import Change

group = typer.Typer(help="The keys that sign access tokens.", no_args_is_help=True, rich_markup_mode=None)
FileOption = Annotated[
    str | None,
    typer.Option("--file", metavar="FILE", help="A file of keys that is not a home's, as for a secret store."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="keys")


@group.callback()
def keys() -> None:
    """The keys that sign access tokens."""


@group.command("list")
def list_(file: FileOption = None, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Say which key signs, which is next, and which are on their way out; prints nothing secret."""
    from ops import token_keys  # noqa: PLC0415 - it takes longer than most commands

    _show(token_keys.described(token_keys.read(_file(file, home)), time.time()), as_json)


@group.command()
def rotate(
    ahead: Annotated[
        int | None,
        typer.Option(
            min=0, max=86_400, metavar="SECONDS", help="From publishing the new key to its first signature; 120."
        ),
    ] = None,
    file: FileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Publish a new key and let it sign in two minutes; the one before retires when its last token has expired."""
    from ops import token_keys  # noqa: PLC0415

    seconds = token_keys.AHEAD if ahead is None else ahead
    _change(token_keys.rotated(seconds), _file(file, home), as_json)


@group.command()
def retire(
    kid: Annotated[str, typer.Argument(metavar="KID", help="As `keys list` prints it.")],
    at_once: Annotated[
        bool,
        typer.Option("--now", help="Its tokens are refused from now on: a key that leaked. Refreshing still works."),
    ] = False,
    file: FileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Take a key out of use: when its last token has expired, or now."""
    from ops import token_keys  # noqa: PLC0415

    _change(token_keys.retired(kid, at_once=at_once), _file(file, home), as_json)


def _change(how: Change, file: Path, as_json: bool) -> None:
    from ops import token_keys  # noqa: PLC0415

    now = int(time.time())
    try:
        ring = token_keys.change(file, how, now)
    except token_keys.WrongKey as error:
        print(f"athena: {error}", file=sys.stderr)
        raise typer.Exit(WRONG) from None
    _show(token_keys.described(ring, now), as_json)


def _file(file: str | None, home: str) -> Path:
    return Path(file) if file else Home(home).secret("token-keys.json")


def _show(keys: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"keys": keys}, indent=2))
        return
    for key in keys:
        print(f"{key['kid']}  {key['alg']}  {_sentence(key)}")


def _sentence(key: dict[str, Any]) -> str:
    begins, ends = (_time(key[name]) for name in ("not_before", "retired_at"))
    match key["state"]:
        case "signs":
            return "signs" + (f"; its tokens are good until {ends}" if ends else "")
        case "next":
            return f"is published, signs from {begins} on"
        case "retired":
            return f"retired {ends}; the next rotation removes it"
    return f"signs no more; its tokens are good until {ends}" if ends else "does not sign"


def _time(seconds: int | None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else ""
