"""How often a process looks for cycles of objects."""

from __future__ import annotations

import gc

#: Objects more than at the last look before the next: as many as the commands of a rush make, which go by themselves. By Python's
#: own 700 a look would come several times in each batch, and take 5 to 7 % of the CPU.
YOUNG_OBJECTS = 20_000


def settle() -> None:
    """Call once all that stays is there: it is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
