"""`dead-letters list|show|replay`."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from ops.stack.home import Home

group = typer.Typer(help="Records that could not be processed.", no_args_is_help=True, rich_markup_mode=None)
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `dead-letters list` names it.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="dead-letters")


@group.command("list")
def list_all(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List them: where each came from, and why it failed."""
    from ops.dead_letters import list_  # noqa: PLC0415

    raise typer.Exit(list_(Home(home), as_json))


@group.command()
def show(letter: IdArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show one with its bytes and its trace."""
    from ops.dead_letters import show as run  # noqa: PLC0415

    raise typer.Exit(run(Home(home), letter, as_json))


@group.command()
def replay(letter: IdArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Send one to its source topic again."""
    from ops.dead_letters import replay as run  # noqa: PLC0415

    raise typer.Exit(run(Home(home), letter, as_json))
