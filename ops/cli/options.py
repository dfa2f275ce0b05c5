"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

HomeOption = Annotated[
    str, typer.Option("--home", metavar="DIR", envvar="ATHENA_HOME", help="The stack's folder.", show_default=".athena")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
DEFAULT_HOME = ".athena"
OK, WRONG, MISUSE, UNREACHABLE = 0, 1, 2, 3
