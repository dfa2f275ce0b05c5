"""`rules check|push|diff|simulate`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ops.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from ops.stack.home import Home

group = typer.Typer(
    help="The rules file: check it, publish it, compare it, try it.", no_args_is_help=True, rich_markup_mode=None
)
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The rules file (YAML).", exists=True, dir_okay=False)
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="rules")


@group.command()
def check(file: FileArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Check the file against the stack's reference data; exit 1 with the findings when there are errors."""
    from ops.rules_cli import check_file  # noqa: PLC0415

    raise typer.Exit(check_file(Home(home), file, as_json))


@group.command()
def push(
    file: FileArgument,
    home: HomeOption = DEFAULT_HOME,
    comment: Annotated[str, typer.Option(help="Why, for the version's history.")] = "athena rules push",
    as_json: JsonOption = False,
) -> None:
    """Publish the file on top of the current version; exit 1 with the findings when the check finds errors."""
    from ops.rules_cli import push_file  # noqa: PLC0415

    raise typer.Exit(push_file(Home(home), file, comment, as_json))


@group.command()
def diff(
    file: FileArgument,
    home: HomeOption = DEFAULT_HOME,
    version: Annotated[int | None, typer.Option(min=1, help="Which version; else the current one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What the file changes, against the current version or another one: line by line, and rule by rule. Exit 1 if anything."""
    from ops.rules_trial import diff_file  # noqa: PLC0415

    raise typer.Exit(diff_file(Home(home), file, version, as_json))


@group.command()
def simulate(
    file: FileArgument,
    home: HomeOption = DEFAULT_HOME,
    since: Annotated[
        datetime | None,
        typer.Option(help="Only requests filed from then on (UTC).", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Route every request on record by the file, publishing nothing; exit 1 if some would go otherwise. Progress goes to stderr."""
    from ops.rules_trial import simulate_file  # noqa: PLC0415

    at = None if since is None else since.replace(tzinfo=UTC)
    raise typer.Exit(simulate_file(Home(home), file, at, as_json))
