"""`python -m ops.cli`, as the supervisor starts its processes."""

from ops.cli import main

main()
