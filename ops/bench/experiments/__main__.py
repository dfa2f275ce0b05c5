"""`python -m ops.bench.experiments`: runs some or all, one JSON file each, then writes tables and plots from the whole folder.

Exit code 0 measured, 1 an experiment failed, 3 no stack could be started. Targets missed are figures, not failures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from ops.bench.experiments import flat, latency, lists, path, raw, soak, startup, worker
from ops.bench.experiments.options import AXES, Options
from ops.bench.page import paste, write_page
from ops.bench.result import Result
from ops.bench.running import say
from ops.stack.errors import StackError

EXPERIMENTS: dict[str, Callable[[Options], Result]] = {
    "path": path.run,
    "raw": raw.run,
    "worker": worker.run,
    "latency": latency.run,
    "lists": lists.run,
    "flat": flat.run,
    "startup": startup.run,
    "soak": soak.run,
}
OK, FAILED, UNREACHABLE = 0, 1, 3


def main(given: list[str] | None = None) -> int:
    """See the module."""
    arguments = _arguments(given)
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    options = Options(
        form="long" if arguments.long else "short",
        home=arguments.home,
        size=arguments.size,
        axes=tuple(arguments.axes.split(",")),
        commands=arguments.commands,
        minutes=arguments.minutes,
        rate=arguments.rate,
        cold=arguments.cold,
    )
    code = OK
    for name in [] if arguments.page else arguments.names or list(EXPERIMENTS):
        say(f"{name}: the {options.form} form")
        began = time.monotonic()
        try:
            found = EXPERIMENTS[name](options)
        except StackError as error:
            say(f"{name}: {error}")
            code = max(code, UNREACHABLE)
            continue
        except Exception:  # whatever it was, the other experiments are still worth their figures
            say(f"{name} failed:\n{traceback.format_exc()}")
            code = max(code, FAILED)
            continue
        document = found.document(name, options.form, time.monotonic() - began)
        (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(write_page(folder))  # noqa: T201 - where it is
    if arguments.into:
        say(f"{arguments.into} has now: {', '.join(paste(folder, Path(arguments.into)))}")
    return code


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.experiments",
        description="Measure, and write JSON, tables (Markdown) and plots (SVG).",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}; default all")
    parser.add_argument("--long", action="store_true", help="the long form; hours for all of them")
    parser.add_argument(
        "--out", metavar="DIR", default="build/bench", help="folder of the results (default build/bench)"
    )
    parser.add_argument(
        "--home", metavar="DIR", help="path, worker, latency, raw, soak: a running stack; otherwise one of their own"
    )
    parser.add_argument("--size", type=int, help="flat, lists: requests held")
    parser.add_argument("--axes", default=",".join(AXES), help=f"flat: of {','.join(AXES)}")
    parser.add_argument("--commands", type=int, help="worker: commands of a run")
    parser.add_argument("--minutes", type=float, help="soak: how long")
    parser.add_argument("--rate", type=float, help="soak: requests a second")
    parser.add_argument("--cold", action="store_true", help="startup: a cold `make run` in a fresh clone too")
    parser.add_argument(
        "--page", action="store_true", help="measure nothing; only write tables and plots from the folder"
    )
    parser.add_argument("--into", metavar="FILE", help="put them into this page too, where it has places for them")
    arguments = parser.parse_args(given)
    if unknown := [name for name in arguments.names if name not in EXPERIMENTS]:
        parser.error(f"no such experiment: {', '.join(unknown)}")
    if unknown := [name for name in arguments.axes.split(",") if name not in AXES]:
        parser.error(f"no such axis: {', '.join(unknown)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
