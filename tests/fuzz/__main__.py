"""The long form, on a stack of its own: `python -m tests.fuzz [--examples 100] [--seed 1]`. Exit code 0: nothing found."""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
import sys

from tests import stack as stacks
from tests.client import Api
from tests.fuzz import fuzz, ground


def main() -> int:
    """Fuzz as each of `ground.WHO`; says how many cases it tried, and prints what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="made-up calls per endpoint and person")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    total, ok = 0, True
    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        api = Api(own.gateway)
        ids = ground.prepare(own, api)
        for who in ground.WHO:
            token = None if who is None else str(api.login(who).json()["access_token"])
            found = fuzz.run(own.gateway, token, ids, examples=asked.examples, seed=asked.seed)
            total, ok = total + found.cases, ok and found.ok
            print(f"{who or 'nobody'}: {found.cases} cases, {'nothing found' if found.ok else found.text}", flush=True)
    print(f"{total} cases in all")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
