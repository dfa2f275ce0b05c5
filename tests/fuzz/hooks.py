"""Makes each made-up Idempotency-Key the only one of its kind: one used twice is rightly refused, and other tests see to that."""

from __future__ import annotations

import uuid
from typing import Any

import schemathesis
from schemathesis.generation.meta import CoverageScenario

LONGEST = 128


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Lengthen a key that is good in itself. A call that tries what happens without a header stays as it is."""
    if case.meta is not None and getattr(case.meta.phase.data, "scenario", None) is CoverageScenario.MISSING_PARAMETER:
        return
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and key and key.isascii() and key.isprintable() and len(key) <= LONGEST:
        own = uuid.uuid4().hex
        case.headers["Idempotency-Key"] = key[: LONGEST - len(own)] + own
