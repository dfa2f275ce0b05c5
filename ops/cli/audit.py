"""`audit verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from ops.stack.home import Home

group = typer.Typer(help="The audit chains.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="audit")


@group.callback()
def audit() -> None:
    """The audit chains."""


@group.command()
def verify(
    request: Annotated[str | None, typer.Option(metavar="ID", help="Only this request's chain.")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Read the audit stream and check every chain; exit 1 when one is broken."""
    from ops.audit_verify import run  # noqa: PLC0415

    raise typer.Exit(run(Home(home), request, as_json))
