"""How asyncpg is told what an array is."""

from __future__ import annotations

import pytest
from asyncpg.protocol import protocol

from agents.projector.arrays import NAMES, look_for_lists


def test_asyncpg_asks_by_plain_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the projector takes a third more CPU, from an upgrade of asyncpg on that nobody connects with it."""
    for name in NAMES:
        monkeypatch.setattr(protocol, name, getattr(protocol, name))
    look_for_lists()
    assert [getattr(protocol, name) for name in NAMES] == [(list, tuple)] * 2
