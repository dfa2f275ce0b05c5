"""Signatures that others have found hard to judge, from Wycheproof. Those of JOSE: `python -m tests.jose_vectors FOLDER`."""

from __future__ import annotations

import pytest

from tests import vectors
from tests.jose_vectors import FOREIGN, PLAIN, plain


@pytest.mark.parametrize(("name", "accepted", "refused"), [(PLAIN[0], 146, 64), (PLAIN[1], 173, 89)])
def test_signatures_of_our_algorithms_are_judged_as_published(name: str, accepted: int, refused: int) -> None:
    """A forged signature would pass: malleable, of small order, out of range, of another length."""
    result = plain(vectors.published(name))
    assert not result.wrong
    assert (result.counts["accepted"], result.counts["refused"]) == (accepted, refused)


@pytest.mark.parametrize(("name", "count"), [(FOREIGN[0], 87), (FOREIGN[1], 332)])
def test_signatures_of_other_algorithms_are_all_refused(name: str, count: int) -> None:
    """A key or hash that was never meant for our tokens would sign them."""
    result = plain(vectors.published(name), ours=False)
    assert not result.wrong
    assert result.counts["refused"] == count
