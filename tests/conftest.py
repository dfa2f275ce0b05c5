"""Fixtures of the whole suite: `stack`, one real stack per run, shared between xdist's workers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from tests import stack as stacks

FOLDER = "ATHENA_TEST_FOLDER"
#: Quick tests come first, so that a simple mistake shows soon. Whatever fits anywhere fills the gaps at the end.
ORDER = ("unit", "faults", "fuzz", "integration", "access_matrix", "fleet", "e2e", "simulation")
#: The groups of `integration` that take a minute or more, the longest first: begun late, one would go on when all else is done.
LONG = ("changing", "checkpointer", "projector", "tampering", "stacks", "identity", "live", "edge")
#: Their tests need no servers: each goes where there is room.
LOOSE = ("unit", "simulation")

# On a busy machine an example may take any time.
settings.register_profile("athena", deadline=None)
settings.load_profile("athena")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group and sort the tests; within a group nothing moves.

    A module's tests are a group, unless they name one: spread over xdist's workers, they would start its servers once on each,
    and meet each other's requests in another order every time. First, since xdist reads the groups in the same hook.
    """
    root = Path(__file__).parent
    places: dict[pytest.Item, tuple[int, int]] = {}
    for item in items:
        path = item.path.relative_to(root)
        mark = item.get_closest_marker("xdist_group")
        group = str(mark.args[0]) if mark else path.as_posix()
        if mark is None and path.parts[0] not in LOOSE:
            item.add_marker(pytest.mark.xdist_group(group))
        places[item] = (ORDER.index(path.parts[0]), LONG.index(group) if group in LONG else len(LONG))
    items.sort(key=places.__getitem__)


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
