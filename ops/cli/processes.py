"""`gateway`, `worker`, `projector`: one process each, told by `ATHENA_*` variables; and `projector rebuild`."""

from __future__ import annotations

import typer

from ops.cli.options import DEFAULT_HOME, HomeOption
from ops.stack.home import Home

projector = typer.Typer(help="Write the read side from the audit stream (one process).", rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(gateway)
    app.command()(worker)
    app.add_typer(projector, name="projector", invoke_without_command=True)


def gateway() -> None:
    """Serve the HTTP API (one process)."""
    from gateway.main import run  # noqa: PLC0415 - each process imports only its own part
    from ops.settings import load_settings  # noqa: PLC0415

    run(load_settings())


def worker() -> None:
    """Decide commands (one process)."""
    from faust_app import run_worker  # noqa: PLC0415
    from ops.settings import load_settings  # noqa: PLC0415

    run_worker(load_settings())


@projector.callback()
def run_projector(context: typer.Context) -> None:
    """Write the read side from the audit stream (one process)."""
    if context.invoked_subcommand is not None:
        return
    from faust_app import run_projector as run  # noqa: PLC0415
    from ops.settings import load_settings  # noqa: PLC0415

    run(load_settings())


@projector.command()
def rebuild(home: HomeOption = DEFAULT_HOME) -> None:
    """Write the read side anew from the audit stream, while the old one serves, and put it in its place."""
    from ops.rebuild import run  # noqa: PLC0415

    raise typer.Exit(run(Home(home)))
