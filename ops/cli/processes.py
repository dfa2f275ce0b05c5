"""`gateway`, `worker`, `projector`: one process each, told by `ATHENA_*` variables; and `projector rebuild`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ops.cli.options import DEFAULT_HOME, HomeOption
from ops.stack.home import Home

if TYPE_CHECKING:
    from ops.settings import Settings

projector = typer.Typer(help="Write the read side from the audit stream (one process).", rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(gateway)
    app.command()(worker)
    app.add_typer(projector, name="projector", invoke_without_command=True)


def gateway() -> None:
    """Serve the HTTP API (one process)."""
    from gateway.main import run  # noqa: PLC0415 - each process imports only its own part

    run(_settings())


def worker() -> None:
    """Decide commands (one process)."""
    from faust_app import run_worker  # noqa: PLC0415

    run_worker(_settings())


@projector.callback()
def run_projector(context: typer.Context) -> None:
    """Write the read side from the audit stream (one process)."""
    if context.invoked_subcommand is not None:
        return
    from faust_app import run_projector as run  # noqa: PLC0415

    run(_settings())


@projector.command()
def rebuild(home: HomeOption = DEFAULT_HOME) -> None:
    """Write the read side anew from the audit stream, while the old one serves, and put it in its place."""
    from ops.rebuild import run  # noqa: PLC0415

    raise typer.Exit(run(Home(home)))


def _settings() -> Settings:
    """The settings; a process whose certificates cannot be used does not start."""
    from ops.settings import load_settings  # noqa: PLC0415
    from ops.tls.context import client_context  # noqa: PLC0415

    settings = load_settings()
    if settings.tls is not None:
        client_context(settings.tls, "kafka")
    return settings
