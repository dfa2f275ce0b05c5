"""All commands of `athena`, and how their errors end the program."""

from __future__ import annotations

import sys

import typer

from ops.cli import audit, certs, dead_letters, keys, processes, rules, simulate, stack, topics, users, work
from ops.cli.options import MISUSE, UNREACHABLE
from ops.stack.errors import Misuse, StackError

app = typer.Typer(
    name="athena",
    help="Budget approval: the stack on this machine, its processes, and what keeps them honest.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
stack.add_to(app)
topics.add_to(app)
rules.add_to(app)
audit.add_to(app)
users.add_to(app)
certs.add_to(app)
dead_letters.add_to(app)
keys.add_to(app)
work.add_to(app)
simulate.add_to(app)
processes.add_to(app)


def run() -> None:
    """Run the command line; an error of the stack ends it with one sentence and exit code 3, wrong use with 2."""
    try:
        app()
    except StackError as error:
        print(f"athena: {error}", file=sys.stderr)
        sys.exit(MISUSE if isinstance(error, Misuse) else UNREACHABLE)
