"""What the bench puts onto the log without the gateway, and the rules it is routed by."""

from __future__ import annotations

import pytest

from agents.spread import partition_of
from ops.bench.fill import APPROVERS, ask, chunks, request_id_of
from ops.bench.load import submission
from ops.bench.rules_file import many_rules, rules_text
from rules.file import parse_rules
from schemas.commands import COMMANDS, Approve, SubmitRequest
from schemas.envelope import header


def test_commands_on_the_log_are_what_a_gateway_writes() -> None:
    """Otherwise the worker would be measured with what it refuses."""
    wanted = ask("run", range(20), 4, approvals=3)
    assert wanted.count == 80
    seen: dict[str, list[int]] = {}
    for partition, rows in wanted.rows.items():
        for key, value, told in rows:
            command = COMMANDS.validate_json(value)
            assert command.request_id == key.decode()
            assert partition == partition_of(key, 4)
            assert header(told, "ce_id") == command.command_id
            if isinstance(command, Approve):
                assert command.actor_id == APPROVERS[(command.expected_version or 0) - 1]
            else:
                assert isinstance(command, SubmitRequest)
            seen.setdefault(command.request_id, []).append(command.expected_version or 0)
    assert set(seen) == {request_id_of("run", number) for number in range(20)}
    assert all(versions == [0, 1, 2, 3] for versions in seen.values())


def test_chunks_leave_nothing_out() -> None:
    """Otherwise fewer requests would be held than the table says."""
    assert [number for part in chunks(3, 14, 5) for number in part] == list(range(3, 14))


@pytest.mark.parametrize("count", [1, 5, 20, 1000])
def test_every_rules_file_sends_the_workload_to_all_levels(count: int) -> None:
    """Otherwise cost against rules would compare different workloads."""
    file = parse_rules(many_rules(count))
    assert len(file.rules) == count
    for number in range(50):
        cents = int(submission(number)["amount"].replace(".", ""))
        assert 2_000_000 <= cents < 9_000_000
    assert all(rule.levels == ("L1", "L2", "L3") for rule in file.rules)


def test_only_whole_numbers_of_rules_a_category_are_made() -> None:
    """Otherwise the file would have fewer rules than asked for."""
    with pytest.raises(ValueError, match="7 rules"):
        many_rules(7)
    assert len(parse_rules(rules_text()).rules) == 20
