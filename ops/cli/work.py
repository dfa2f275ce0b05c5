"""`bench`, `demo`, `schemas`: programs of their own, started with the arguments that follow."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable

import typer

# The programs read their own arguments, --help included.
PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    add = (
        ("bench", "ops.bench", "Measure the whole path over HTTP; prints JSON."),
        ("demo", "ops.demo", "Drive a story through HTTP against a fresh stack."),
        ("schemas", "ops.drift", "Write the generated schemas, or with --check say whether they are current."),
    )
    for name, module, text in add:
        app.command(name, help=text, context_settings=PASSED_ON)(_program(name, module))


def _program(name: str, module: str) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        sys.argv = [f"athena {name}", *context.args]
        runpy.run_module(module, run_name="__main__", alter_sys=False)

    return run
