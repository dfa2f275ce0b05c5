"""How the worker's process ends itself: at once, without committing anything; the supervisor starts it again."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

import structlog

log = structlog.get_logger(__name__)

EXIT_FAILED, EXIT_STALLED, EXIT_FENCED = 70, 71, 75
#: From the signal to the end of the process, in seconds; the supervisor kills after 10.
SHUTDOWN_LIMIT_S = 9.0
#: For what is still to be written to the log.
FLUSH_LIMIT_S = 2.0


def die(reason: str, code: int, error: BaseException | None = None) -> NoReturn:
    """End the process without committing anything."""
    _after(FLUSH_LIMIT_S, os._exit, code)
    try:
        log.critical(reason, exit_code=code, exc_info=error)
    finally:
        end(code)


def end(code: int) -> NoReturn:
    """End the process now: neither a thread of a Kafka client keeps it, nor a log that has no room or no reader."""
    _after(FLUSH_LIMIT_S, os._exit, code)
    try:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def bound_shutdown(code: int = 0, limit_s: float = SHUTDOWN_LIMIT_S) -> threading.Timer:
    """End the process with `code` after `limit_s` seconds whatever hangs: what was not acknowledged comes again."""
    return _after(limit_s, end, code)


def _after(seconds: float, do: Callable[[int], object], code: int) -> threading.Timer:
    timer = threading.Timer(seconds, do, args=(code,))
    timer.daemon = True
    timer.start()
    return timer
