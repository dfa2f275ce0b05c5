"""Fixtures of the whole suite: `stack`, one real stack per run, shared between xdist's workers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests import stack as stacks

FOLDER = "ATHENA_TEST_FOLDER"
#: Quick tests come first, so that a simple mistake shows soon. Then the long chain of faults, beside which the rest runs.
ORDER = ("unit", "faults", "integration", "access_matrix", "fuzz", "fleet", "simulation", "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by folder, in `ORDER`; within a folder nothing moves."""
    root = Path(__file__).parent
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(root).parts[0]))


def pytest_configure(config: pytest.Config) -> None:
    """Choose the folder of the run's stack before the workers start, which inherit it."""
    if not hasattr(config, "workerinput"):
        folder = stacks.new_folder()
        os.environ[FOLDER] = str(folder)
        if os.environ.get(stacks.TLS) == "1":
            stacks.make_test_authority(folder / "authority")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the run's stack, if a test asked for it, after the last worker has ended."""
    if not hasattr(config, "workerinput") and FOLDER in os.environ:
        folder = Path(os.environ.pop(FOLDER))
        stacks.down(folder / "home")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack() -> stacks.Stack:
    """A running stack with the demo organisation; tests leave it running, and make requests of their own."""
    return stacks.shared(Path(os.environ[FOLDER]))
