"""When the projector's consumer asks the broker."""

from __future__ import annotations

from typing import Any

from agents.fetching import Gate


class Fetcher:
    """Stands for aiokafka's: always has something to ask for."""

    def __init__(self) -> None:
        self._wait_consume_future = object()
        self.woken: list[Any] = []

    def _notify(self, future: Any) -> None:
        self.woken.append(future)

    def _get_actions_per_node(self, assignment: Any) -> tuple[Any, ...]:
        return [(1, "fetch")], {2: ["reset"]}, 0.5, False, []


def test_nothing_is_asked_for_while_no_poll_waits() -> None:
    """Else each batch holds what came right after the one before, and there are several times as many."""
    fetcher = Fetcher()
    gate = Gate(fetcher)
    assert fetcher._get_actions_per_node(None)[0] == []
    with gate.opened():
        assert fetcher._get_actions_per_node(None)[0] == [(1, "fetch")]
    assert fetcher._get_actions_per_node(None)[0] == []


def test_a_poll_wakes_the_fetcher() -> None:
    """Else records would be asked for when something else happens, seconds later."""
    fetcher = Fetcher()
    with Gate(fetcher).opened():
        assert fetcher.woken == [fetcher._wait_consume_future]


def test_positions_are_looked_up_all_the_same() -> None:
    """Else a projector that waits for PostgreSQL would not know where to read on."""
    fetcher = Fetcher()
    Gate(fetcher)
    assert fetcher._get_actions_per_node(None)[1:] == ({2: ["reset"]}, 0.5, False, [])
