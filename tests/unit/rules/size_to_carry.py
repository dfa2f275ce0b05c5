"""`python -m tests.unit.rules.size_to_carry`: what 1,000 rules, 200 categories and 50 departments cost, as JSON.

CPU seconds to read and to check the file (in a process of its own, as everywhere), µs of wall time to route a request at the median
and at 99 %, and the memory that the engine holds once all kinds of requests were routed.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time

import psutil

from rules.check import Reference, check
from rules.engine import Facts, RulesEngine
from rules.file import parse_rules
from schemas.base import LEVELS
from tests.unit.rules.rule_samples import CURRENCIES, Assigned, large

KINDS = ("spread", "mixed", "bands", "nested")


def organisation() -> Reference:
    """200 categories, 50 departments in 6 regions, 97 people."""
    people = [
        Assigned(f"c{c}", level, f"p{(c * 3 + k) % 97}", None, f"r{k}")
        for c in range(200)
        for level in LEVELS
        for k in range(6)
    ]
    return Reference(
        [f"c{n}" for n in range(200)],
        [(f"d{n}", f"r{n % 6}") for n in range(50)],
        people,
        {one.approver_id for one in people},
        [(f"p{n}", f"d{n % 50}") for n in range(97)],
    )


def measure(kind: str) -> dict[str, object]:
    """One kind, in this process."""
    text, reference, process = large(kind), organisation(), psutil.Process()
    started = process.memory_info().rss
    begin = time.process_time()
    file = parse_rules(text)
    parsed = time.process_time()
    findings = check(file, reference)
    checked = time.process_time()
    after_check = process.memory_info().rss
    engine, dice = RulesEngine(file, 1), random.Random(3)
    before, spent = process.memory_info().rss, []
    for _ in range(20_000):
        department = dice.randrange(50)
        amount = dice.randrange(5000) * 2500 + dice.randrange(-1, 2) + 1
        facts = Facts(
            f"c{dice.randrange(200)}", f"d{department}", f"r{department % 6}", dice.choice(CURRENCIES), amount
        )
        at = time.perf_counter_ns()
        engine.route(facts)
        spent.append(time.perf_counter_ns() - at)
    spent.sort()
    return {
        "kind": kind,
        "bytes": len(text),
        "read_cpu_s": round(parsed - begin, 2),
        "check_cpu_s": round(checked - parsed, 2),
        "findings": len(findings),
        "check_mib": round((after_check - started) / 2**20, 1),
        "route_us_median": round(spent[len(spent) // 2] / 1000, 1),
        "route_us_p99": round(spent[len(spent) * 99 // 100] / 1000, 1),
        "engine_mib": round((process.memory_info().rss - before) / 2**20, 1),
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(measure(sys.argv[1])) + "\n")
    else:
        for each in KINDS:  # each in a fresh process: one leaves no memory to the next
            subprocess.run([sys.executable, "-m", "tests.unit.rules.size_to_carry", each], check=True)
