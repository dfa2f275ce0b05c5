"""Structured logs on standard output: one JSON object a line, so that no text of a user can start a line of its own.

The console format is for people; there, what cannot be printed is written as an escape, and the further lines of an exception
are indented. Neither format lets secrets through, see `ops.redaction`.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ops.redaction import redact_event, remember_settings
from ops.settings import Settings


def configure(settings: Settings) -> None:
    """Set up structlog, and send the standard library's records, warnings and uncaught exceptions the same way."""
    level = getattr(logging, settings.log_level)
    remember_settings(settings)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Processor] = (
        [
            printable_event,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
        if settings.log_format == "console"
        else [structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact_event,
                *last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("aiokafka", "asyncio", "faust", "mode"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda found: _uncaught(found.exc_type, found.exc_value, found.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Python's own hook would print the exception past all of this."""
    if error is not None and not isinstance(error, SystemExit | KeyboardInterrupt):
        logging.getLogger("athena").critical("uncaught exception", exc_info=(kind, error, trace))


def printable_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: every text on one line, whatever a user put into it; an exception's further lines indented."""
    return {
        printable(name): _plain(value, "\n    " if name in ("exception", "stack") else "\\n")
        for name, value in event.items()
    }


def _plain(value: Any, line_break: str) -> Any:
    if isinstance(value, str):
        return line_break.join(printable(line) for line in value.split("\n"))
    return value if value is None or isinstance(value, bool | int | float) else printable(str(value))


def printable(text: str) -> str:
    """The text with escapes for control characters, line breaks, and what turns the direction of writing."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
