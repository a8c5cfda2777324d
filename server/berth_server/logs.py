"""Log of the daemon: one structured line per event, to stderr."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(level: str) -> None:
    """Write structured lines to stderr: coloured on a terminal, plain key-values otherwise."""
    number = logging.getLevelNamesMapping()[level.upper()]
    tty = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if not tty else structlog.dev.set_exc_info,
            # Not rich's tracebacks: they print local variables, environments among them.
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if tty
            else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries say (uvicorn's tracebacks among it) goes the same way.
    logging.basicConfig(
        level=max(number, logging.WARNING),
        stream=sys.stderr,
        format="timestamp=%(asctime)s level=%(levelname)s logger=%(name)s event=%(message)r",
        force=True,
    )
