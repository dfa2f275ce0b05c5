"""`athena projector rebuild`: the same bytes again, while everything is served."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests import stack as stacks
from tests.client import Api
from tests.integration.projector_rig import DERIVED, Rig, servers, wait_until
from tests.integration.test_projector import NUMBERS, stories
from tests.unit.projector.stories import Story

#: What a table is beside its rows: columns, keys and indexes by name, options, who may do what.
SHAPE = """
SELECT c.oid::regclass::text || ' ' || concat_ws(' | ', c.reloptions::text,
  (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(c.relacl) a),
  (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attstorage), ' ' ORDER BY attnum)
   FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0),
  (SELECT string_agg(pg_get_indexdef(indexrelid), ' ' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = c.oid),
  (SELECT string_agg(conname || pg_get_constraintdef(oid), ' ' ORDER BY conname) FROM pg_constraint WHERE conrelid = c.oid)
) AS line FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text IN ('requests', 'catalog') ORDER BY 1"""
LEFT_OVER = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'rebuild%'"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with servers() as found:
        yield found


def start(rig: Rig) -> subprocess.Popen[str]:
    """The command as an operator types it."""
    command = [sys.executable, "-m", "ops.cli", "projector", "rebuild", "--home", str(rig.home.path)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def rebuilt(rig: Rig, code: int = 0) -> str:
    process = start(rig)
    _, said = process.communicate(timeout=120)
    assert process.returncode == code, said
    return said


def derived(rig: Rig) -> dict[str, list[str]]:
    return rig.dump(DERIVED)


def test_a_rebuild_gives_the_same_bytes_and_tables_while_the_projector_goes_on(rig: Rig) -> None:
    """Else a rebuild would lose indexes or rights, or what was decided meanwhile, and nobody would know why."""
    with rig.projector() as one:
        rig.send(stories(200))
        rig.wait_applied()
        before, shape, facts = derived(rig), rig.query(SHAPE), rig.dump(("audit.records", "audit.personal"))
        said = rebuilt(rig)
        assert "records" in said and said.endswith("The read side is complete.\n")
        assert derived(rig) == before
        assert rig.query(SHAPE) == shape
        assert rig.dump(("audit.records", "audit.personal")) == facts
        assert rig.query(LEFT_OVER) == []
        # New records come during one and after it.
        running = start(rig)
        for _ in range(10):
            rig.send(stories(20))
        running.communicate(timeout=120)
        assert running.returncode == 0
        rig.send(stories(20))
        rig.wait_applied()
        assert one.process.poll() is None
        whole = derived(rig)
    rig.wipe()
    with rig.projector():
        rig.wait_applied()
        assert derived(rig) == whole


def test_what_was_damaged_is_whole_again(rig: Rig) -> None:
    """Else the one means against a damaged read side would not help."""
    rig.send(stories(20))
    with rig.projector():
        rig.wait_applied()
        before = derived(rig)
        rig.superuser(
            "DELETE FROM requests.votes; UPDATE requests.requests SET document = '{}', status = 'x'; SELECT 1"
        )
        rig.superuser("INSERT INTO catalog.entities VALUES ('category', 'invented', 1, '{}'); SELECT 1")
        assert derived(rig) != before
        rebuilt(rig)
        assert derived(rig) == before


def test_a_kill_in_the_middle_leaves_the_old_read_side(rig: Rig) -> None:
    """Else an operator's Ctrl-C or a lost terminal would leave empty lists."""
    rig.send(stories(600))
    with rig.projector() as one:
        rig.wait_applied()
        before = derived(rig)
        for rows in (1, 400):
            running = start(rig)

            def begun(rows: int = rows) -> bool:
                if not rig.query("SELECT to_regclass('rebuild_new_requests.history')")[0][0]:
                    return False
                return bool(rig.query("SELECT count(*) FROM rebuild_new_requests.history")[0][0] >= rows)

            wait_until(begun, 60, "the rebuild does not begin")
            os.kill(running.pid, signal.SIGKILL)
            running.communicate(timeout=30)
            assert running.returncode == -signal.SIGKILL
            assert derived(rig) == before
        rig.send(stories(10))
        rig.wait_applied()
        before = derived(rig)
        rebuilt(rig)
        assert derived(rig) == before
        assert rig.query(LEFT_OVER) == []
        assert one.process.poll() is None


def test_two_at_once_are_one(rig: Rig) -> None:
    """Else two operators would drop each other's tables."""
    rig.send(stories(300))
    with rig.projector():
        rig.wait_applied()
        before = derived(rig)
        running = start(rig)
        wait_until(lambda: bool(rig.query(LEFT_OVER)), 60, "the rebuild does not begin")
        # On a busy machine it would be done before the second one has started.
        running.send_signal(signal.SIGSTOP)
        try:
            said = rebuilt(rig, code=1)
        finally:
            running.send_signal(signal.SIGCONT)
        assert "Another rebuild runs" in said
        running.communicate(timeout=120)
        assert running.returncode == 0
        assert derived(rig) == before


def test_unreachable_servers_are_said_so(rig: Rig) -> None:
    """Else a script would take it for a rebuild."""
    rig.stop("postgres")
    try:
        assert "is as it was" in rebuilt(rig, code=3)
    finally:
        rig.start("postgres")
    wait_until(lambda: answers(rig), 30, "PostgreSQL is not back")


def answers(rig: Rig) -> bool:
    try:
        return bool(rig.query("SELECT 1"))
    except Exception:
        return False


def test_a_fact_that_differs_stops_it_and_the_old_read_side_serves_on(rig: Rig) -> None:
    """Else a changed audit row would be confirmed by the rebuild, or the lists lost over it. Last: it breaks the rig."""
    story = Story(next(NUMBERS)).submit().approve()
    with rig.projector():
        rig.send(story.records)
        rig.wait_applied()
    before = derived(rig)
    rig.superuser(
        "ALTER TABLE audit.records DISABLE TRIGGER ALL; "
        f"UPDATE audit.records SET event = '{{}}' WHERE request_id = '{story.id}' AND seq = 2; SELECT 1"
    )
    said = rebuilt(rig, code=1)
    assert "other contents" in said and story.id in said
    assert derived(rig) == before
    assert rig.query(LEFT_OVER) == []


def test_nobody_who_reads_notices() -> None:
    """Else people would be told that their request does not exist, or see it as it was before their vote."""
    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        api = Api(own.gateway)
        requests = [api.submit() for _ in range(60)]
        for one in requests[:20]:
            api.approved("l1.emea", one)
        for one in requests:
            api.read("sam.sales", one)
        known = {one["id"]: 1 + (number < 20) for number, one in enumerate(requests)}
        done = threading.Event()
        wrong: list[Any] = []
        counts = {"reads": 0, "lists": 0, "writes": 0}

        def read() -> None:
            while not done.is_set():
                for id_, version in list(known.items()):
                    answer = api.get("sam.sales", f"/requests/{id_}", min_version=version)
                    counts["reads"] += 1
                    if answer.status_code != 200 or answer.json()["version"] < version:
                        wrong.append((answer.status_code, answer.text))

        def list_() -> None:
            while not done.is_set():
                least = len(known)
                for who, path in (
                    ("sam.sales", "/requests"),
                    ("admin", "/requests"),
                    ("l1.emea", "/approvals/history"),
                ):
                    answer = api.get(who, path, limit=200)
                    counts["lists"] += 1
                    if answer.status_code != 200 or (
                        path == "/requests" and len(answer.json()["items"]) < min(200, least)
                    ):
                        wrong.append((path, answer.status_code, answer.text[:500]))

        def write() -> None:
            while not done.is_set():
                made = api.submit()
                api.read("sam.sales", made)
                known[made["id"]] = 1
                counts["writes"] += 1
                time.sleep(0.05)

        threads = [threading.Thread(target=work) for work in (read, read, list_, write)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                ran = own.run("projector", "rebuild")
                assert ran.returncode == 0, ran.stderr
                time.sleep(0.5)
        finally:
            done.set()
            for thread in threads:
                thread.join(60)
        assert not wrong, wrong[:5]
        assert min(counts.values()) > 3, counts
        assert all(not thread.is_alive() for thread in threads)
        assert len(known) == 60 + counts["writes"]
        api.read("sam.sales", api.submit())
