"""`python -m ops.bench`."""

import sys

from ops.bench.main import main

sys.exit(main())
