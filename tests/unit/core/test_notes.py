"""Signed notes and checkpoints, against vectors that others published."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from schemas.checkpoints import Checkpoint, leaf, notes_in, opened, origin_of, partition_of
from schemas.notes import NoteError, VerifierKey, load_private_key, open_note, sign, split_note

#: From c2sp.org/signed-note; the key and note are those of Go's golang.org/x/mod/sumdb/note, too.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
#: From c2sp.org/tlog-checkpoint.
CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def key_named(name: str) -> VerifierKey:
    return VerifierKey(name, KEY.public_key().public_bytes_raw())


def test_the_specifications_note_opens() -> None:
    """No outsider's tool could check our notes, nor we theirs."""
    key = VerifierKey.parse(VKEY)
    assert str(key) == VKEY
    assert open_note(NOTE, [key]) == "This is an example message.\n"


def test_our_notes_verify_by_the_library_alone() -> None:
    """Our own reading of the form could be wrong twice in the same way."""
    note = sign("a/b\n1\nx\n", "a/b", KEY)
    text, _, line = note.partition("\n\n— a/b ")
    raw = base64.b64decode(line)
    assert raw[:4] == key_named("a/b").id
    Ed25519PublicKey.from_public_bytes(KEY.public_key().public_bytes_raw()).verify(raw[4:], f"{text}\n".encode())


def test_the_specifications_checkpoint_is_read() -> None:
    """Sizes and roots would be misread."""
    text, signatures = split_note(CHECKPOINT)
    found = Checkpoint.parse(text)
    assert (found.origin, found.size, len(found.root)) == ("example.com/behind-the-sofa", 20852163, 32)
    assert found.text() == text
    assert [name for name, _ in signatures] == ["example.com/behind-the-sofa"]


@pytest.mark.parametrize("place", range(0, len(NOTE), 3))
def test_a_note_with_another_character_does_not_open(place: int) -> None:
    """A checkpoint could be changed after it was signed."""
    changed = NOTE[:place] + ("B" if NOTE[place] != "B" else "C") + NOTE[place + 1 :]
    with pytest.raises(NoteError):
        open_note(changed, [VerifierKey.parse(VKEY)])


def test_signatures_of_unknown_keys_are_ignored_and_false_ones_of_known_keys_are_not() -> None:
    """A witness's signature would break a note, or a forged one pass."""
    note = sign("a/b\n1\nx\n", "a/b", KEY)
    foreign = NOTE.rpartition("\n\n")[2]
    assert open_note(note + foreign, [key_named("a/b")])
    with pytest.raises(NoteError, match="not that of this text"):
        open_note(note + foreign, [key_named("a/b"), VerifierKey.parse(VKEY)])
    with pytest.raises(NoteError, match="none of the known keys"):
        open_note(note, [key_named("a/c")])


def test_sixteen_witnesses_with_the_largest_signatures_fit_and_a_flood_does_not() -> None:
    """A checkpoint that witnesses signed with post-quantum keys could not be checked; or a note would take minutes to read."""
    note, key = sign("a/b\n1\nx\n", "a/b", KEY), key_named("a/b")
    witness = f"— witness.example/1 {base64.b64encode(bytes(5000)).decode()}\n"
    assert open_note(note + 16 * witness, [key])
    with pytest.raises(NoteError, match="over 100 signatures"):
        open_note(note + 100 * "— w AAAAAAA=\n", [key])


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "a+b",
        VKEY[:-1],
        VKEY.replace("530d", "530e"),
        VKEY.replace("Aeky", "Beky"),
        VKEY.replace("foo", "bar"),
        "a b" + VKEY,
    ],
)
def test_a_mistyped_key_is_refused(vkey: str) -> None:
    """A wrong key would be trusted, or a right one seem to fail."""
    with pytest.raises(NoteError):
        VerifierKey.parse(vkey)


def test_a_checkpoint_counts_only_under_its_own_origins_key() -> None:
    """The checkpoint of one partition could be passed off as another's."""
    text = Checkpoint(origin_of("here", 3), 1, bytes(32)).text()
    assert opened(sign(text, "here/athena.audit/3", KEY), [key_named("here/athena.audit/3")]).size == 1
    with pytest.raises(NoteError):
        opened(sign(text, "here/athena.audit/2", KEY), [key_named("here/athena.audit/2")])
    assert (partition_of("here/athena.audit/3"), partition_of("here/else/3")) == (3, None)


@pytest.mark.parametrize("size", ["01", "-1", "", "1e3", " 1"])
def test_a_size_that_is_none_is_refused(size: str) -> None:
    """One checkpoint could be read as two different sizes."""
    with pytest.raises(NoteError):
        Checkpoint.parse(f"a\n{size}\n{base64.b64encode(bytes(32)).decode()}\n")


ROOT = base64.b64encode(bytes(32)).decode()


def test_the_line_with_the_last_offset_is_read_and_others_are_left_alone() -> None:
    """A checkpoint with a line that a later version adds could not be checked."""
    assert Checkpoint.parse(f"a\n1\n{ROOT}\n").last_offset is None
    assert Checkpoint.parse(f"a\n1\n{ROOT}\nother 7\nlast_offset 12\n").last_offset == 12
    found = Checkpoint("a", 1, bytes(32), 0)
    assert Checkpoint.parse(found.text()) == found


@pytest.mark.parametrize(
    "lines",
    [
        "last_offset\n",
        "last_offset 01\n",
        "last_offset -1\n",
        "last_offset  1\n",
        "last_offset 1 \n",
        "last_offset 1 2\n",
        "last_offset \u0661\n",
        "last_offset 1\nlast_offset 1\n",
        "last_offset 1\nlast_offset 2\n",
    ],
)
def test_a_last_offset_that_is_none_or_stands_twice_is_refused(lines: str) -> None:
    """One checkpoint could be read as reaching to two different places."""
    with pytest.raises(NoteError, match="last_offset"):
        Checkpoint.parse(f"a\n1\n{ROOT}\n{lines}")


def test_several_notes_in_one_file_are_told_apart() -> None:
    """What somebody kept of twelve partitions could not be read back."""
    notes = [sign(f"a\n{number}\nx\n", "a", KEY) for number in range(3)]
    assert notes_in("\n".join(notes)) == notes == notes_in("".join(notes))


def test_keys_are_read_from_pem_alone() -> None:
    """A process would start with a key that signs nothing."""
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert load_private_key(pem).public_key() == KEY.public_key()
    with pytest.raises(NoteError, match="openssl genpkey"):
        load_private_key("no key")


def test_every_byte_of_a_record_is_in_its_leaf() -> None:
    """A byte that no hash of the chain covers could be changed unseen."""
    value = b'{"hash":"' + b"ab" * 32 + b'","request":{"amount":"1.00"}}'
    changed = {leaf(value[:place] + b"~" + value[place + 1 :]) for place in range(len(value))}
    assert len(changed | {leaf(value), leaf(None), leaf(value + b" ")}) == len(value) + 3
