"""`make setup` takes the fastest build of the first version of Python that is there, and stays with it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
#: As an interpreter would answer the probes of `ops/stack/python.sh`; without headers it says nothing to the first one.
_INTERPRETER = """#!/bin/sh
case "$1" in
  -I) echo {cost} ;;
  *) [ "$2" = headers ] && [ {headers} = no ] || echo "$0" ;;
esac
"""


def _python(folder: Path, *, cost: int, name: str = "python3.11", headers: str = "yes") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(_INTERPRETER.format(cost=cost, headers=headers))
    path.chmod(0o755)
    return path


def _chosen(root: Path, *folders: Path, python: str = "") -> str:
    tools = root / "tools"
    tools.mkdir(exist_ok=True)
    for tool in ("awk", "cat", "sh"):
        (tools / tool).unlink(missing_ok=True)
        (tools / tool).symlink_to(str(shutil.which(tool)))
    path = ":".join(map(str, [*folders, tools]))
    script = f". {ROOT}/ops/stack/python.sh; find_python; echo $PYTHON_FOUND"
    ran = subprocess.run(
        [str(shutil.which("bash")), "-euo", "pipefail", "-c", script],
        cwd=root, env={"PATH": path, "PYTHON": python}, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return ran.stdout.strip()


def test_the_fastest_build_wins_wherever_it_stands_on_the_path(tmp_path: Path) -> None:
    slow = _python(tmp_path / "a", cost=200)
    fast = _python(tmp_path / "b", cost=100)
    assert _chosen(tmp_path, slow.parent, fast.parent) == str(fast)
    assert _chosen(tmp_path, fast.parent, slow.parent) == str(fast)


def test_a_little_faster_is_chance_and_the_first_on_the_path_stays(tmp_path: Path) -> None:
    first = _python(tmp_path / "a", cost=105)
    second = _python(tmp_path / "b", cost=100)
    third = _python(tmp_path / "c", cost=100)
    assert _chosen(tmp_path, first.parent, second.parent, third.parent) == str(first)


def test_one_without_headers_is_taken_only_where_no_other_is(tmp_path: Path) -> None:
    bare = _python(tmp_path / "a", cost=10, headers="no")
    whole = _python(tmp_path / "b", cost=100, name="python3.12")
    assert _chosen(tmp_path, bare.parent, whole.parent) == str(whole)
    assert _chosen(tmp_path, bare.parent) == str(bare)


def test_who_names_one_gets_it_and_the_one_of_the_environment_stays_otherwise(tmp_path: Path) -> None:
    slow = _python(tmp_path / "a", cost=200)
    fast = _python(tmp_path / "b", cost=100)
    assert _chosen(tmp_path, fast.parent, python=str(slow)) == str(slow)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".python").write_text(f"{slow}\n")
    assert _chosen(tmp_path, fast.parent) == str(slow)
