"""Where logs go, and in which form; what is logged is in `telemetry.py`."""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal

import structlog

from bridge.clock import Clock
from bridge.printing import printable, to_json
from bridge.telemetry import REMINDER_SECONDS

_CLOCK: Final = Clock()


def configure_logging(level: str, form: Literal["auto", "json", "console"]) -> None:
    """Send all logs, the libraries' too, to stderr as JSON lines or for a console."""
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(to_json)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    harmless = [] if form == "json" else [_printable]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *harmless,
                last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # One line a request and a retry loop's every turn are not news; what matters has events here.
    for noisy in ("httpx", "httpcore", "stamina"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # it warns of what strangers send
    # Without brokers it repeats itself ten times a second. Our own errors say what it could not do;
    # why it cannot connect (a certificate, say) stands nowhere but in its top-level logger.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    for part in ("cluster", "conn", "consumer", "coordinator", "producer"):
        logging.getLogger(f"aiokafka.{part}").setLevel(logging.CRITICAL)
    handler.addFilter(_Reminders("aiokafka"))
    # Without a file to spare for a connection asyncio says so as often as the backlog is long.
    handler.addFilter(_Reminders("asyncio", "socket.accept() out of system resource"))


def _printable(
    _logger: object, _method: str, fields: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Escape what a console must not get; a traceback keeps its lines."""
    return {
        name: "\n".join(map(printable, str(value).split("\n")))
        if name == "exception"
        else printable(value if isinstance(value, str) else repr(value))
        for name, value in fields.items()
    }


class _Reminders(logging.Filter):
    """Lets one line of a logger that begins so through every half a minute, and all others."""

    def __init__(self, logger: str, beginning: str = "") -> None:
        super().__init__()
        self._logger = logger
        self._beginning = beginning
        self._last = -REMINDER_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != self._logger or not record.getMessage().startswith(self._beginning):
            return True
        now = _CLOCK.monotonic()
        if now - self._last < REMINDER_SECONDS:
            return False
        self._last = now
        return True
