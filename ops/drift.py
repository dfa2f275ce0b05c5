"""Whether the generated specifications still say what the code does: `python -m ops.drift --check|--write`."""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from ops import asyncapi

#: Modules with `check()` (sentences, or whether all is well) and `write()`; one that is not there yet is left out.
_OTHERS = ("gateway.openapi",)


def main(arguments: list[str]) -> int:
    """Exit code 0 all current, 1 something differs (it says what to run), 2 wrong use."""
    if arguments not in (["--check"], ["--write"]):
        print("Write: python -m ops.drift --check, or --write to bring the files up to date", file=sys.stderr)
        return 2
    specifications = [asyncapi, *(module for name in _OTHERS if (module := _found(name)) is not None)]
    if arguments == ["--write"]:
        for specification in specifications:
            _write(specification)
        return 0
    lines = [line for specification in specifications for line in _differences(specification)]
    for line in lines:
        print(line, file=sys.stderr)
    return 1 if lines else 0


def _write(specification: ModuleType) -> None:
    if hasattr(specification, "write"):
        specification.write()
    else:
        specification.STORED.write_text(specification.text(), encoding="utf-8")


def _differences(specification: ModuleType) -> list[str]:
    found: list[str] | bool = specification.check()
    if isinstance(found, bool):
        return [] if found else [f"{specification.__name__}: its file differs. Run: python -m ops.drift --write"]
    return found


def _found(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            return None
        raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
