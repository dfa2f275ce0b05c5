"""`audit verify|export|key|checkpoints|prove|check`."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from ops.stack.home import Home

group = typer.Typer(help="The audit log, and what proves it.", no_args_is_help=True, rich_markup_mode=None)
RequestOption = Annotated[str | None, typer.Option("--request", metavar="ID", help="Only this request's chain.")]
KEY_HELP = "A verifier key, or a file of them; those of the home otherwise."


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="audit")


@group.callback()
def audit() -> None:
    """The audit log, and what proves it."""


@group.command()
def verify(
    request: RequestOption = None,
    log: Annotated[str | None, typer.Option(metavar="DIR", help="A copy by `export`, read instead of Kafka.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="FILE", help="Checkpoints kept from earlier: the log must extend them.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY|FILE", help=KEY_HELP)] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Recompute every chain from PostgreSQL and the log, compare, and check the checkpoints; exit 1 when one is broken."""
    from ops.audit import commands  # noqa: PLC0415

    raise typer.Exit(commands.verify(Home(home), request, log, checkpoint, key, as_json))


@group.command()
def export(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A new folder.")], home: HomeOption = DEFAULT_HOME
) -> None:
    """Copy the audit stream and its checkpoints into files; `verify --log DIR` reads them."""
    from ops.audit import commands  # noqa: PLC0415

    raise typer.Exit(commands.export(Home(home), folder))


@group.command()
def key(home: HomeOption = DEFAULT_HOME) -> None:
    """Print the public keys of the checkpoints, one for each partition: give them to those who are to check."""
    from ops.audit import commands  # noqa: PLC0415

    raise typer.Exit(commands.key(Home(home)))


@group.command()
def checkpoints(home: HomeOption = DEFAULT_HOME) -> None:
    """Print the newest signed checkpoint of each partition: keep them elsewhere, for `verify --checkpoint FILE`."""
    from ops.audit import commands  # noqa: PLC0415

    raise typer.Exit(commands.checkpoints(Home(home)))


@group.command()
def prove(
    request: Annotated[str, typer.Option("--request", metavar="ID", help="The request.")],
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Where to; audit-ID.json otherwise.")] = None,
    wait: Annotated[float, typer.Option(min=0, max=3600, help="Seconds to wait for a checkpoint.")] = 30.0,
    without_personal: Annotated[
        bool, typer.Option("--without-personal", help="Leave texts and addresses out; their commitments stay.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Write one file that proves a request's audit records to somebody who has only the public key."""
    from ops.audit import commands  # noqa: PLC0415

    raise typer.Exit(commands.prove(Home(home), request, out, wait, not without_personal))


@group.command()
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="As `prove` wrote it.")],
    key: Annotated[str, typer.Option(metavar="KEY|FILE", help="A verifier key, or a file of them.")],
    as_json: JsonOption = False,
) -> None:
    """Check a proof file; needs no stack. Exit 0 proved, 1 not, 2 no proof file or no key."""
    from ops.audit import commands  # noqa: PLC0415

    raise typer.Exit(commands.check(file, key, as_json))
