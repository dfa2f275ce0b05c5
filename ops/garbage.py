"""How often a process looks for cycles of objects. What is in no cycle goes by itself, at once."""

from __future__ import annotations

import gc

#: Objects more than at the last look before the next: as many as the commands of a rush make, which go by themselves. By Python's
#: own 700 a look would come several times in each batch, and take 5 to 7 % of the CPU.
YOUNG_OBJECTS = 20_000
#: Such looks before what they left is looked at again: by Python's own 10 the worker stood still for 126 ms, now for 30 ms.
YOUNG_LOOKS = 2
#: Looks of that kind before everything is looked at: about as seldom as by Python's own 10 times 10.
MIDDLE_LOOKS = 50


def settle() -> None:
    """Call once all that stays is there: it is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_LOOKS, MIDDLE_LOOKS)
