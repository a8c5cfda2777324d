"""Log of the daemon: one structured line per event, to stderr."""

from __future__ import annotations

import logging
from typing import TextIO, cast

import structlog

from berth.daemons.log_stream import LogStream
from berth.masking import masked_values

STDERR = LogStream(2)
"""Stream that the daemon logs to; `berth up` leads it into a file."""


def configure(level: str) -> None:
    """Write structured lines to stderr: coloured on a terminal, plain key-values otherwise."""
    number = logging.getLevelNamesMapping()[level.upper()]
    tty = STDERR.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if not tty else structlog.dev.set_exc_info,
            masked_values,
            # Not rich's tracebacks: they print local variables, environments among them.
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if tty
            else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", STDERR)),
        cache_logger_on_first_use=True,
    )
    # What libraries say (uvicorn's tracebacks among it) goes the same way.
    logging.basicConfig(
        level=max(number, logging.WARNING),
        stream=STDERR,
        format="timestamp=%(asctime)s level=%(levelname)s logger=%(name)s event=%(message)r",
        force=True,
    )
