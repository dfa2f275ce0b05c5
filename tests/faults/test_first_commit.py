"""A worker that dies before the group has committed anything for a partition, on the real broker."""

from __future__ import annotations

import os
import signal

import pytest

from ops.stack.state import State
from tests import stack as stacks
from tests.client import Api, submission

#: Enough that each of the four partitions gets some, but for one run in a million.
COMMANDS = 60


@pytest.mark.xdist_group("faults")
@pytest.mark.timeout(300)
def test_commands_of_a_partition_that_was_never_committed_are_decided_after_a_restart() -> None:
    """Otherwise the first requests of a new installation, acknowledged with 202, would stand still for ever."""
    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        api = Api(own.gateway)
        state = State.read(own.home)
        assert state is not None and state.supervisor is not None
        supervisor = state.supervisor.pid
        os.kill(supervisor, signal.SIGSTOP)  # so that the worker stays away until everything is in the log
        try:
            os.kill(own.pid("worker"), signal.SIGKILL)
            answers = [
                api.post(
                    "sam.sales", "/requests", submission(title=f"Visit {number}"), headers={"Prefer": "respond-async"}
                )
                for number in range(COMMANDS)
            ]
        finally:
            os.kill(supervisor, signal.SIGCONT)
        assert {answer.status_code for answer in answers} == {202}
        pending = {answer.json()["id"] for answer in answers}

        def decided() -> bool:
            for command_id in list(pending):
                if api.get("sam.sales", f"/commands/{command_id}").json()["status"] == "accepted":
                    pending.discard(command_id)
            return not pending

        stacks.wait_until(decided, 60, f"{len(pending)} acknowledged commands were not decided")
