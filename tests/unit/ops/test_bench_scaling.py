"""docs/scaling.md: its numbers follow from the measured ones at its top."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.scaling import Load, current, figures

PAGE = Path(__file__).resolve().parents[3] / "docs" / "scaling.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_is_current() -> None:
    """Otherwise somebody would buy machines by figures of last year. Run: python -m ops.bench.scaling"""
    assert current(TEXT) == TEXT


def test_the_arithmetic_is_what_the_page_says() -> None:
    """Otherwise the reader could not follow it."""
    of = figures(TEXT) | {
        "peak_share": 0.18, "commands": 4, "reads": 5, "busy": 0.5, "replicas": 3, "worker_ms": 1.0, "worker_rate": 2000,
        "kafka_ms": 0.5, "commands_bytes": 1000, "notifications_bytes": 2000, "outcomes_bytes": 3000,
    }  # fmt: skip
    load = Load(1_000_000, of)
    assert load.requests_s == pytest.approx(50)
    assert (load.commands_s, load.reads_s) == (pytest.approx(200), pytest.approx(1000))
    assert load.worker == pytest.approx(0.2)
    assert load.kafka == pytest.approx(0.3)
    assert (load.workers, load.partitions) == (2, 4)
    assert Load(100_000_000, of).workers == 20
    assert Load(100_000_000, of).partitions == 48
    assert load.kafka_rolling_gb == pytest.approx(3 * (14 + 14 + 3))


def test_a_page_without_a_place_for_them_is_refused() -> None:
    """Otherwise the tables would silently not be written."""
    with pytest.raises(ValueError, match="has no"):
        current("nothing")
