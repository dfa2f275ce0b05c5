"""`rules check|push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.cli.options import DEFAULT_HOME, HomeOption
from ops.stack.home import Home

group = typer.Typer(help="The rules file: check it, publish it.", no_args_is_help=True, rich_markup_mode=None)
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The rules file (YAML).", exists=True, dir_okay=False)
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="rules")


@group.command()
def check(file: FileArgument, home: HomeOption = DEFAULT_HOME) -> None:
    """Check the file against the stack's reference data; exit 1 with the findings when there are errors."""
    from ops.rules_cli import check_file  # noqa: PLC0415

    raise typer.Exit(check_file(Home(home), file))


@group.command()
def push(
    file: FileArgument,
    home: HomeOption = DEFAULT_HOME,
    comment: Annotated[str, typer.Option(help="Why, for the version's history.")] = "athena rules push",
) -> None:
    """Publish the file on top of the current version; exit 1 with the findings when the check finds errors."""
    from ops.rules_cli import push_file  # noqa: PLC0415

    raise typer.Exit(push_file(Home(home), file, comment))
