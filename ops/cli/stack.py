"""`up`, `down`, `status`, `seed`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Annotated

import typer

from ops.cli.certs import left
from ops.cli.options import DEFAULT_HOME, OK, UNREACHABLE, WRONG, HomeOption, JsonOption
from ops.stack.home import Home

PASSWORD = "athena-demo-2026"  # noqa: S105 - the public demo's
LOGINS = (
    ("admin@athena.test", "admin"),
    ("auditor@athena.test", "auditor"),
    ("sam.sales@athena.test", "sales, emea"),
    ("sue.sales@athena.test", "sales, emea"),
    ("ana.sales@athena.test", "sales, apac"),
    ("l1.emea@athena.test", "first level, emea"),
    ("l1b.emea@athena.test", "first level, emea"),
    ("l1.apac@athena.test", "first level, apac; sales"),
    ("l1.hq@athena.test", "first level, global"),
    ("l2@athena.test", "second level"),
    ("l2b@athena.test", "second level"),
    ("l3@athena.test", "third level"),
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(seed)


def up(
    home: HomeOption = DEFAULT_HOME,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready, and leave it running.")] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The gateway's port.", show_default="8000, or a free one")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=16, help="How many workers.", show_default="1")] = None,
    demo_organisation: Annotated[
        bool, typer.Option("--seed/--no-seed", help="Fill a new home with the demo organisation.")
    ] = True,
    tls: Annotated[
        bool, typer.Option("--tls", help="TLS with certificates on both sides of every line; a home keeps it.")
    ] = False,
) -> None:
    """Start the whole product on this machine: Kafka, PostgreSQL, gateway, worker, projector."""
    from ops.stack.launch import launch  # noqa: PLC0415 - commands import what they use, so that --help is fast
    from ops.stack.supervisor import Options, run_supervisor  # noqa: PLC0415

    place = Home(home)
    options = Options(port=port, workers=workers, seed=demo_organisation, tls=tls)
    if detach:
        if not launch(place, options, _say):
            _say(f"a stack is up on {place.path} already")
            _refuse_plain(place, tls)
        _print_addresses(place)
        return
    code = run_supervisor(place, options, _say, lambda: _print_addresses(place, foreground=True))
    if code is None:
        _refuse_plain(place, tls)
        print(
            f"athena: a stack is up on {place.path} already. Stop it: athena down --home {place.path}", file=sys.stderr
        )
        raise typer.Exit(WRONG)
    raise typer.Exit(code)


def _refuse_plain(home: Home, tls: bool) -> None:
    """Who asked for TLS is not to believe that they have it."""
    if tls and not home.tls:
        text = f"it has no TLS, and gets it at its next start: athena down --home {home.path}, then athena up --tls"
        print(f"athena: {text} --home {home.path}", file=sys.stderr)
        raise typer.Exit(WRONG)


def down(home: HomeOption = DEFAULT_HOME) -> None:
    """Stop the stack of this home, and no other; its data stays."""
    from ops.stack.state import stop_stack  # noqa: PLC0415

    place = Home(home)
    _say(f"stopped the stack on {place.path}" if stop_stack(place) else f"nothing runs on {place.path}")


def status(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Say what runs: exit 0 when all does, 1 when something is down or a certificate has ended, 3 when nothing is reachable."""
    from ops.stack.status import look  # noqa: PLC0415

    found = look(Home(home))
    if as_json:
        print(json.dumps(found))
    else:
        print(f"{'ready' if found['ready'] else 'not ready'}  {found['gateway'] or 'no gateway'}")
        for name, process in found["processes"].items():
            life = f"pid {process['pid']}, {process['rss_mb']} MB, up {process['up_s']} s" if process["up"] else "down"
            print(f"  {name:<12} {life}, restarts {process['restarts']}")
        if ends := found["certificates"]:
            print(f"  certificates  {left(ends['days_left']).strip()} ({ends['name']} ends first)")
    living = [process["up"] for process in found["processes"].values()]
    if not any(living):
        raise typer.Exit(UNREACHABLE)
    ended = found["certificates"] is not None and found["certificates"]["days_left"] <= 0
    raise typer.Exit(OK if found["ready"] and all(living) and not ended else WRONG)


def seed(home: HomeOption = DEFAULT_HOME) -> None:
    """Fill in the demo organisation with the example rules file; again changes nothing."""
    place = Home(home)
    place.endpoints()
    environment = os.environ | place.environment("owner")
    raise typer.Exit(subprocess.run([sys.executable, "-m", "ops.seed"], check=False, env=environment).returncode)


def _say(text: str) -> None:
    print(text, flush=True)


def _print_addresses(home: Home, foreground: bool = False) -> None:
    found = home.endpoints()
    print(f"\n  gateway    {found['gateway']}   (API: {found['gateway']}/api/v1/openapi.json)")
    print(f"  kafka      {found['kafka']}")
    print(f"  postgres   127.0.0.1:{home.port('postgres')}   (login: {home.endpoints_file})")
    for name, address in found["metrics"].items():
        print(f"  metrics    {address}   ({name})")
    print(f"\n  logins, password {PASSWORD}:")
    for login, what in LOGINS:
        print(f"    {login:<24} {what}")
    last = "Ctrl-C stops it all" if foreground else f"stop it: athena down --home {home.path}"
    print(f"\n  {last}; the data stays in {home.path}", flush=True)
