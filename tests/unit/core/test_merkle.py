"""The Merkle trees of the checkpoints: RFC 6962's, or nobody else could check them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.merkle import EMPTY_ROOT, Prover, Tree, leaf_hash, root_from_proof

#: Inputs and roots of Certificate Transparency's reference tests (merkle_tree_test.cc).
INPUTS = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def oracle_root(data: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    if not data:
        return hashlib.sha256().digest()
    if len(data) == 1:
        return hashlib.sha256(b"\x00" + data[0]).digest()
    k = 1
    while k * 2 < len(data):
        k *= 2
    return hashlib.sha256(b"\x01" + oracle_root(data[:k]) + oracle_root(data[k:])).digest()


def oracle_path(m: int, data: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1, word for word."""
    if len(data) == 1:
        return []
    k = 1
    while k * 2 < len(data):
        k *= 2
    if m < k:
        return [*oracle_path(m, data[:k]), oracle_root(data[k:])]
    return [*oracle_path(m - k, data[k:]), oracle_root(data[:k])]


def test_roots_are_those_of_certificate_transparency() -> None:
    """No other program could recompute a checkpoint."""
    tree = Tree()
    assert tree.root() == EMPTY_ROOT == oracle_root([])
    for data, root in zip(INPUTS, ROOTS, strict=True):
        tree.append(leaf_hash(data))
        assert tree.root().hex() == root


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=70), st.data())
def test_roots_and_paths_are_the_rfcs_at_every_size(data: list[bytes], draw: st.DataObject) -> None:
    """A proof would fail for some sizes of the log, or hold for what is not in it."""
    wanted = draw.draw(st.sets(st.integers(0, len(data) - 1)))
    prover, tree = Prover(), Tree()
    for index, one in enumerate(data):
        prover.append(leaf_hash(one), index in wanted)
        tree.append(leaf_hash(one))
        tree = Tree(tree.size, tree.peaks)
    assert prover.root() == tree.root() == oracle_root(data)
    assert prover.proofs() == {index: oracle_path(index, data) for index in wanted}
    for index, proof in prover.proofs().items():
        assert root_from_proof(index, len(data), leaf_hash(data[index]), proof) == tree.root()


@given(st.integers(2, 40), st.data())
def test_a_proof_holds_for_its_own_leaf_and_place_alone(size: int, draw: st.DataObject) -> None:
    """Somebody could prove a record that was never in the log."""
    data = [bytes([number]) for number in range(size)]
    index, other = draw.draw(st.integers(0, size - 1)), draw.draw(st.integers(0, size - 1))
    path, root = oracle_path(index, data), oracle_root(data)

    def leads(place: int, of: int, leaf: bytes, proof: list[bytes]) -> bool:
        try:
            return root_from_proof(place, of, leaf_hash(leaf), proof) == root
        except ValueError:
            return False

    assert leads(index, size, data[index], path)
    assert not leads(index, size, b"forged", path)
    assert leads(other, size, data[index], path) == (other == index)
    assert not leads(index, size, data[index], path[:-1])
    assert not leads(index, size, data[index], [*path, root])
    assert not leads(size, size, data[index], path)


@pytest.mark.parametrize(("size", "peaks"), [(1, []), (3, [bytes(32)]), (1, [b"short"])])
def test_a_range_that_does_not_fit_its_size_is_refused(size: int, peaks: list[bytes]) -> None:
    """A checkpoint could be continued from a tree that never was."""
    with pytest.raises(ValueError, match="subtrees"):
        Tree(size, peaks)
