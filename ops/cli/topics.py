"""`topics [--check]`."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Annotated

import typer

from ops.cli.options import DEFAULT_HOME, WRONG, HomeOption, JsonOption
from ops.stack.home import Home


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(topics)


def topics(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 when a topic differs.")] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Make the topics that are missing, and say which differ from what Athena needs.

    On the brokers that ATHENA_KAFKA_BOOTSTRAP names, else on the home's.
    """
    from ops.settings import load_settings  # noqa: PLC0415
    from ops.topics import TopicsDiffer, ensure, verify  # noqa: PLC0415

    if "ATHENA_KAFKA_BOOTSTRAP" not in os.environ:
        os.environ.update(Home(home).environment("owner"))
    settings = load_settings()
    where = (settings.kafka, settings.partitions, settings.replication_factor)
    differences = []
    if check:
        differences = asyncio.run(verify(*where))
    else:
        try:
            asyncio.run(ensure(*where))
        except TopicsDiffer as error:
            differences = str(error).splitlines()
    if as_json:
        print(json.dumps({"kafka": settings.kafka_bootstrap, "differences": differences}))
    else:
        print("\n".join(differences) or "All topics are as they must be.")
    raise typer.Exit(WRONG if differences else 0)
