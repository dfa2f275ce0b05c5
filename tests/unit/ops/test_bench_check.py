"""`make bench-check`: when it says that a request has become dearer."""

from __future__ import annotations

import pytest

from ops.bench.check import Limits, verdict

LIMITS = Limits(2.0, 0.1)


@pytest.mark.parametrize(
    ("product", "fine", "said"),
    [
        ([4.0, 4.1, 9.0], True, "ok: "),
        ([4.5, 4.5, 4.5], False, "WORSE: "),
        ([3.0, 3.1, 2.9], True, "better than limits.json"),
    ],
)
def test_a_ratio_beyond_the_margin_is_worse(product: list[float], fine: bool, said: str) -> None:
    """Otherwise a release could cost half as much again, and nobody would be told; one disturbed round tells nothing."""
    found, sentence = verdict(product, [2.0, 1.9, 2.1], LIMITS)
    assert found is fine
    assert said in sentence
    assert "2.00 ms" in sentence


def test_a_slower_machine_is_no_worse_product() -> None:
    """Otherwise the check would fail wherever it was not calibrated."""
    assert verdict([40.0], [20.0], LIMITS)[0]


def test_the_committed_limits_can_be_read() -> None:
    """Otherwise the check itself would be broken."""
    limits = Limits.read()
    assert limits.ratio > 0
    assert 0 < limits.margin < 1
    assert limits.most > limits.ratio
