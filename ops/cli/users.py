"""`users invite`."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from ops.stack.home import Home

group = typer.Typer(help="People's accounts.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="users")


@group.callback()
def users() -> None:
    """People's accounts."""


@group.command()
def invite(
    user: Annotated[str, typer.Argument(metavar="USER", help="The account's id.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Print a link by which that person sets the first password, once, within three days; exit 1 when there is no such account."""
    from ops.invite import run  # noqa: PLC0415

    raise typer.Exit(run(Home(home), user, as_json))
