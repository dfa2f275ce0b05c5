"""The `athena` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; exit codes: 0 ok, 1 found something wrong, 2 wrong use, 3 cannot reach what it needs."""
    from ops.cli.app import run  # noqa: PLC0415 - `import ops.cli` stays cheap

    run()
