"""Proofs for outsiders, by the commands that an auditor types."""

from __future__ import annotations

from pathlib import Path

from tests.client import Api
from tests.stack import Stack, athena


def test_a_request_is_proved_to_whoever_has_the_public_key_alone(stack: Stack, api: Api, tmp_path: Path) -> None:
    """Otherwise an outsider would have to believe whoever runs the servers."""
    request = api.approved("l1.emea", api.submit(title="Proof of a purchase"))
    keys = tmp_path / "keys"
    keys.write_text(stack.run("audit", "key").stdout)
    for option in ((), ("--without-personal",)):
        file = tmp_path / f"proof{len(option)}.json"
        done = stack.run("audit", "prove", "--request", request["id"], "--out", str(file), *option)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("Proof of a purchase" in file.read_text()) == (not option)
        # No home, no stack.
        checked = athena("audit", "check", str(file), "--key", str(keys), ATHENA_HOME=str(tmp_path / "none"))
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert f"PROVED: request:{request['id']} has the records 1 to 2, versions 1 to 2" in checked.stdout
        file.write_text(file.read_text().replace("l1.emea", "l1.apac"))
        checked = athena("audit", "check", str(file), "--key", str(keys))
        assert checked.returncode == 1
        assert "NOT PROVED: record" in checked.stdout


def test_commands_say_what_is_wrong_with_them(stack: Stack, tmp_path: Path) -> None:
    """Otherwise a mistyped name would look like a broken log, or a broken log like a mistyped name."""
    nothing = tmp_path / "nothing"
    assert stack.run("audit", "verify", "--request", "x").returncode == 2
    assert stack.run("audit", "verify", "--checkpoint", str(nothing)).returncode == 2
    assert stack.run("audit", "verify", "--key", "a+b+c").returncode == 2
    assert stack.run("audit", "verify", "--log", str(tmp_path)).returncode == 3
    assert stack.run("audit", "export", str(Path(__file__).parent)).returncode == 2
    assert athena("audit", "check", str(nothing), "--key", "x").returncode == 2
    assert athena("audit", "key", "--home", str(nothing)).returncode == 3
    unknown = stack.run("audit", "prove", "--request", "0f8fad5b-d9cb-469f-a165-70867728950e", "--out", str(nothing))
    assert unknown.returncode == 1
    assert "no record of it" in unknown.stdout
    assert not nothing.exists()


def test_the_log_extends_what_was_kept_and_a_copy_is_as_good(stack: Stack, api: Api, tmp_path: Path) -> None:
    """Otherwise nobody outside could tell whether the log was rewritten since."""
    api.submit()
    kept = tmp_path / "kept"
    kept.write_text(stack.run("audit", "checkpoints").stdout)
    keys = tmp_path / "keys"
    keys.write_text(stack.run("audit", "key").stdout)
    api.submit()
    done = stack.run("audit", "verify", "--checkpoint", str(kept), "--key", str(keys))
    assert done.returncode == 0, done.stdout + done.stderr
    copy = tmp_path / "copy"
    assert stack.run("audit", "export", str(copy)).returncode == 0
    assert (copy / "athena.audit-0.jsonl").exists()
