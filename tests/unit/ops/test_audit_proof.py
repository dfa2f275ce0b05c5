"""A proof file holds by itself, and only as it was written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops.audit import proof
from ops.audit.proof import NoProof, Refuted
from schemas.audit import chain_hash
from schemas.checkpoints import Checkpoint, leaf, origin_of
from schemas.merkle import Prover
from schemas.notes import VerifierKey, sign
from tests.unit.projector.stories import Story, value_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
ORIGIN = origin_of("here", 0)
VKEY = VerifierKey(ORIGIN, KEY.public_key().public_bytes_raw())
STORY = Story(1).submit().refused().approve().comment("When?")
ENTITY = STORY.chain.entity


def made(records: list[dict[str, Any]], *, personal: bool = True) -> bytes:
    """The proof of these records, each among others in a log."""
    prover, values = Prover(), {}
    for record in records:
        for _ in range(3):
            prover.append(leaf(b"another's"))
        values[prover.size] = value_of(record)
        prover.append(leaf(value_of(record)), True)
    prover.append(leaf(b"another's"))
    note = sign(Checkpoint(ORIGIN, prover.size, prover.root()).text(), ORIGIN, KEY)
    paths = prover.proofs()
    return proof.build(ENTITY, note, [(i, value, paths[i]) for i, value in values.items()], personal=personal)


@pytest.mark.parametrize("personal", [True, False])
def test_a_true_proof_holds(personal: bool) -> None:
    """Nobody could show an outsider what was decided."""
    found = proof.check(made(STORY.records, personal=personal), [VKEY])
    assert (found.entity, found.records, found.versions, found.checkpoint.size) == (ENTITY, 4, 3, 17)
    assert (found.personal, found.hidden) == ((5, 0) if personal else (0, 5))


def test_without_personal_parts_none_is_in_the_file() -> None:
    """A proof given away would give away what people wrote."""
    data = made(STORY.records, personal=False)
    assert b"When?" not in data and b"10.0.0.1" not in data and b"Laptop" not in data
    assert b"When?" in made(STORY.records)


@pytest.mark.parametrize("personal", [True, False])
def test_a_file_with_any_other_character_is_refused(personal: bool) -> None:
    """A proof could be made to say something else."""
    data = made(STORY.records, personal=personal)
    whole = proof.check(data, [VKEY])
    for place in range(0, len(data), 7):
        changed = data[:place] + (b"7" if data[place : place + 1] != b"7" else b"8") + data[place + 1 :]
        try:
            found = proof.check(changed, [VKEY])
        except (NoProof, Refuted):
            continue
        # White space between tokens, or a name that is not looked at.
        assert found == whole
        assert orjson.loads(changed)["records"] == orjson.loads(data)["records"]


def _forged(records: list[dict[str, Any]], at: int, **changes: Any) -> list[dict[str, Any]]:
    """Records whose chain is made to fit again after a change."""
    result, previous = [], None
    for number, record in enumerate(records):
        copy = dict(record)
        if number == at:
            copy |= changes
        if previous is not None:
            copy["prev_hash"] = previous
        copy["hash"] = previous = chain_hash(copy)
        result.append(copy)
    return result


def test_a_chain_that_fits_itself_and_was_never_signed_is_refused() -> None:
    """Somebody could show a history of his own making."""
    document = orjson.loads(made(STORY.records))
    for item, record in zip(document["records"], _forged(STORY.records, 2, actor_id="zoe"), strict=True):
        item["value"] = value_of(record).decode()
    with pytest.raises(Refuted, match=r"record 3 .* not in the log"):
        proof.check(orjson.dumps(document), [VKEY])


@pytest.mark.parametrize("gone", range(3))
def test_a_record_left_out_is_noticed(gone: int) -> None:
    """A refusal or a rejection could be kept from an outsider."""
    document = orjson.loads(made(STORY.records))
    del document["records"][gone]
    with pytest.raises(Refuted, match="expected seq"):
        proof.check(orjson.dumps(document), [VKEY])


def test_anothers_record_is_refused() -> None:
    """One request's approval could be shown as another's."""
    document = orjson.loads(made(STORY.records))
    document["entity"] = "request:another"
    with pytest.raises(Refuted, match="not of request:another"):
        proof.check(orjson.dumps(document), [VKEY])


def test_a_personal_text_that_was_not_committed_to_is_refused() -> None:
    """Words could be put into somebody's mouth."""
    records = [dict(record) for record in STORY.records]
    records[3]["personal"] = {"comment": "Never."}
    with pytest.raises(Refuted, match="personal field comment"):
        proof.check(made(records), [VKEY])


def test_another_key_proves_nothing() -> None:
    """Whoever makes a key of his own could prove anything."""
    other = VerifierKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)).public_key().public_bytes_raw())
    with pytest.raises(Refuted, match="none of the known keys"):
        proof.check(made(STORY.records), [other])


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format":"x"}', b'{"format":"athena-audit-proof/1"}', b"\xff"])
def test_what_is_no_proof_file_is_said_to_be_none(data: bytes) -> None:
    """A wrong file would look like a forged proof."""
    with pytest.raises(NoProof):
        proof.check(data, [VKEY])


def test_an_empty_proof_proves_nothing() -> None:
    """A file without records would read as a clean record."""
    document = orjson.loads(made(STORY.records)) | {"records": []}
    with pytest.raises(Refuted, match="no record"):
        proof.check(orjson.dumps(document), [VKEY])


@pytest.mark.parametrize("personal", [True, False])
def test_what_nothing_proves_is_not_in_a_file_that_holds(personal: bool) -> None:
    """A person who opens a proved file would read in it what nobody ever signed."""
    document = orjson.loads(made(STORY.records, personal=personal))
    first = document["records"][0]
    forged = [document | {"summary": "approved"}, document | {"records": [first | {"title": "A yacht"}]}]
    if personal:
        forged.append(document | {"records": [first | {"record": {"actor_id": "zoe"}}, *document["records"][1:]]})
    else:
        forged.append(document | {"records": [first | {"record": first["record"] | {"request": {"amount": "1"}}}]})
    for one in forged:
        with pytest.raises(NoProof, match="fields"):
            proof.check(orjson.dumps(one), [VKEY])


def test_a_name_that_stands_twice_is_refused() -> None:
    """A reader who takes the first would see another record than the one that was proved."""
    data = made(STORY.records)
    twice = data.replace(b'"index": 3,', b'"value": "{}", "index": 3,', 1)
    assert twice != data
    with pytest.raises(NoProof, match="twice"):
        proof.check(twice, [VKEY])


def test_a_file_sent_by_mail_still_holds() -> None:
    """Other line ends would look like a forgery."""
    assert proof.check(made(STORY.records).replace(b"\n", b"\r\n"), [VKEY]).records == 4


@pytest.mark.parametrize("field", ["entity", "seq", "prev_hash", "hash"])
@pytest.mark.parametrize(
    "text",
    ["\x1b[2K\rPROVED: all of it", "x\nPROVED: all of it", "\u202eDEVORP", "x" * 1_000_000],
    ids=["screen", "line", "direction", "long"],
)
def test_a_forger_does_not_write_the_verdict(field: str, text: str) -> None:
    """A forged file could clear the screen and print that it holds."""
    document = orjson.loads(made(STORY.records, personal=False))
    document["records"][0]["record"][field] = text
    with pytest.raises((NoProof, Refuted)) as found:
        proof.check(orjson.dumps(document), [VKEY])
    assert str(found.value).isprintable()
    assert len(str(found.value)) < 600


def test_deep_and_large_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file made to be hard to read would end in a traceback, or in a full memory."""
    data = made(STORY.records, personal=False)
    for depth in (100, 500, 1000, 100_000):
        deep = data.replace(b'"event": {', b'"event": {"x": ' + b"[" * depth + b"]" * depth + b",", 1)
        with pytest.raises((NoProof, Refuted)):
            proof.check(deep, [VKEY])
    monkeypatch.setattr(proof, "MAX_FILE", len(data) - 1)
    with pytest.raises(NoProof, match="more than a proof file may have"):
        proof.check(data, [VKEY])
