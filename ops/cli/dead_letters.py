"""`dead-letters list|show|replay`."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ops.cli.options import DEFAULT_HOME, MISUSE, HomeOption, JsonOption
from ops.stack.home import Home

if TYPE_CHECKING:
    from ops.letters import Selection

group = typer.Typer(help="Records that could not be processed.", no_args_is_help=True, rich_markup_mode=None)
_PLACE = "An id, or TOPIC[PARTITION]@OFFSET of the source, as `dead-letters list` names them."
PlaceArgument = Annotated[str, typer.Argument(metavar="PLACE", help=_PLACE)]
PlacesArgument = Annotated[list[str] | None, typer.Argument(metavar="[PLACE]...", help=_PLACE, show_default=False)]
TopicOption = Annotated[str | None, typer.Option("--topic", help="Only records of this topic.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Only records appended at this time (RFC 3339) or later.")
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only records appended before it.")]
ErrorOption = Annotated[str | None, typer.Option("--error", metavar="TEXT", help="Only where the error contains it.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="dead-letters")


@group.command("list")
def list_all(
    topic: TopicOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    error: ErrorOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """List them: where each came from, and why it failed. Exit 0 when there are none, 1 when there are some."""
    from ops.dead_letters import list_  # noqa: PLC0415

    raise typer.Exit(list_(Home(home), _selection((), topic, since, until, error), as_json))


@group.command()
def show(place: PlaceArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show one with its bytes and its trace."""
    from ops.dead_letters import show as run  # noqa: PLC0415

    raise typer.Exit(run(Home(home), place, as_json))


@group.command()
def replay(
    places: PlacesArgument = None,
    every: Annotated[bool, typer.Option("--all", help="All that the options below select.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    topic: TopicOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    error: ErrorOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Send records to their source again, same bytes and ids: what was decided meanwhile is not done twice."""
    from ops.dead_letters import replay as run  # noqa: PLC0415

    if every == bool(places):
        _misuse("Name the PLACEs to be sent again, or --all; not both.")
    raise typer.Exit(run(Home(home), _selection(tuple(places or ()), topic, since, until, error), dry_run, as_json))


def _selection(
    places: tuple[str, ...], topic: str | None, since: str | None, until: str | None, error: str | None
) -> Selection:
    from ops.letters import Selection  # noqa: PLC0415

    return Selection(places, topic, _time("--since", since), _time("--until", until), error)


def _time(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        _misuse(f"{option}: expected a time such as 2026-03-01T09:00:00Z, found {text!r}.")
    return int(at.timestamp() * 1000)


def _misuse(text: str) -> NoReturn:
    print(f"athena: {text}", file=sys.stderr)
    raise typer.Exit(MISUSE)
