"""The long form, on a stack of its own: `python -m tests.fleet [--devices 200] [--steps 60] [--seed 1] [--rest 20]`.

Exit code 0: every phone ends as the server has it, and every tap has exactly one outcome.
"""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
import sys

from tests import stack as stacks
from tests.fleet.fleet import fly

_SHOWN = 40


def main() -> int:
    """Run one fleet; prints what it came to, and what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--steps", type=int, default=60, help="of each device: taps, talks and rests")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rest", type=float, default=20.0, help="the longest time offline, in seconds")
    asked = parser.parse_args()
    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        found = fly(own, asked.devices, asked.steps, asked.seed, rest=asked.rest, deep=True)
        print(f"seed {asked.seed}: {found}")
        for text in found.wrong[:_SHOWN]:
            print(f"wrong: {text}")
        if len(found.wrong) > _SHOWN:
            print(f"and {len(found.wrong) - _SHOWN} more")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
