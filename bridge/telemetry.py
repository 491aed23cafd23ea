"""Every metric, declared once; one function per notable event that counts it and logs it.

Labels are few and bounded: never ids, URLs or exception texts.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from bridge.clock import Clock

REMINDER_SECONDS = 30.0
"""What goes on failing is logged again after so many seconds."""

METRICS = CollectorRegistry()
METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST

_api_requests = Counter(
    "bridge_api_requests",
    "Answers of the Missions API, by operation and status (or the kind of failure).",
    ["operation", "status"],
    registry=METRICS,
)
_api_seconds = Histogram(
    "bridge_api_request_seconds",
    "Time from asking the Missions API to the whole answer, waiting for the rate budget left out.",
    ["operation"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=METRICS,
)
_api_waits = Counter(
    "bridge_api_wait_seconds",
    "Seconds spent waiting because the API answered 429 or its window was nearly used up.",
    registry=METRICS,
)
_transactions = Counter(
    "bridge_transactions",
    "Kafka transactions by role (source, commands) and outcome (committed, lost, fenced).",
    ["role", "outcome"],
    registry=METRICS,
)
_transaction_seconds = Histogram(
    "bridge_transaction_seconds",
    "Time from beginning a Kafka transaction to its commit.",
    ["role"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
    registry=METRICS,
)
_events = Counter(
    "bridge_events_published",
    "Events written to Kafka, by source and whether they are marked late.",
    ["source", "late"],
    registry=METRICS,
)
_fresh_until = Gauge(
    "bridge_source_fresh_until_timestamp_seconds",
    "The API's time up to which the feed was seen: the last poll's start, or a climb's height.",
    ["source"],
    registry=METRICS,
)
_frontier = Gauge(
    "bridge_source_frontier_timestamp_seconds",
    "The frontier: below it, less the lateness window, the last deep sweep left nothing unread.",
    ["source"],
    registry=METRICS,
)
_sweeps = Counter(
    "bridge_sweeps",
    "Completed passes over the feed, by source and kind (shallow, deep, climb).",
    ["source", "kind"],
    registry=METRICS,
)
_order_violations = Counter(
    "bridge_feed_order_violations",
    "Pages of the feed that were not sorted by time.",
    ["source"],
    registry=METRICS,
)
_gaps = Counter(
    "bridge_feed_gaps",
    "Sweeps that met the end of the feed before anything known: events may have fallen off it.",
    ["source"],
    registry=METRICS,
)
_unknown_missions = Counter(
    "bridge_events_mission_unknown",
    "Runs whose mission could not be found; their events have a null mission_id.",
    ["source"],
    registry=METRICS,
)
_owned = Gauge(
    "bridge_owned",
    "What this process works on: 1 for each source, and the number of command partitions.",
    ["role", "name"],
    registry=METRICS,
)
_dead_letters = Counter(
    "bridge_dead_letters",
    "Records that could not be converted, by side (events, commands) and reason.",
    ["side", "reason"],
    registry=METRICS,
)
_commands = Counter(
    "bridge_command_results",
    "Results of commands, by verb and status.",
    ["verb", "status"],
    registry=METRICS,
)
_command_seconds = Histogram(
    "bridge_command_seconds",
    "Time from receiving a command to its final result.",
    ["verb"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300),
    registry=METRICS,
)
_failures = Counter(
    "bridge_dependency_failures",
    "Failed tries to use a dependency (api, api key, kafka, registry).",
    ["dependency"],
    registry=METRICS,
)
_ready = Gauge("bridge_ready", "1 when ready, else 0; /readyz has the reason.", registry=METRICS)


def log(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


_log = log("bridge")
_clock = Clock()
_away: dict[tuple[str, str], float] = {}


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
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # One line a request and a retry loop's every turn are not news; what matters has events here.
    for noisy in ("httpx", "httpcore", "uvicorn", "stamina"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Without brokers it repeats itself ten times a second. Our own errors say what it could not do;
    # why it cannot connect (a certificate, say) stands nowhere but in its top-level logger.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    for part in ("cluster", "conn", "consumer", "coordinator", "producer"):
        logging.getLogger(f"aiokafka.{part}").setLevel(logging.CRITICAL)
    handler.addFilter(_Reminders("aiokafka"))


class _Reminders(logging.Filter):
    """Lets one line of a logger through every half a minute, and all of the others."""

    def __init__(self, logger: str) -> None:
        super().__init__()
        self._logger = logger
        self._last = -REMINDER_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != self._logger:
            return True
        now = _clock.monotonic()
        if now - self._last < REMINDER_SECONDS:
            return False
        self._last = now
        return True


def metrics() -> bytes:
    """Return all metrics as OpenMetrics text."""
    text: bytes = generate_latest(METRICS)  # type: ignore[no-untyped-call]
    return text


def api_answered(operation: str, status: str, seconds: float) -> None:
    """Count one answer of the Missions API; `status` is the code or the kind of failure."""
    _api_requests.labels(operation, status).inc()
    _api_seconds.labels(operation).observe(seconds)


def api_waiting(seconds: float, reason: str) -> None:
    """Count and log a pause that the API asked for."""
    _api_waits.inc(seconds)
    _log.info("api_waiting", seconds=round(seconds, 3), reason=reason)


def dependency_away(name: str, reason: str, *, of: str = "") -> None:
    """Count one failed try to use a dependency; log it when it is news.

    That is the first of a row of failures, and a reminder every half a minute. `of` says for whose
    use, where several parts use it and each has a row of its own.
    """
    _failures.labels(name).inc()
    now = _clock.monotonic()
    if now - _away.get((name, of), -REMINDER_SECONDS) >= REMINDER_SECONDS:
        _away[name, of] = now
        _log.warning("dependency_away", dependency=name, reason=reason, **_whose(of))


def dependency_back(name: str, *, of: str = "") -> None:
    """Log that a dependency can be used again, if it was away."""
    if _away.pop((name, of), None) is not None:
        _log.info("dependency_back", dependency=name, **_whose(of))


def _whose(of: str) -> dict[str, str]:
    return {"of": of} if of else {}


def transaction_committed(role: str, records: int, seconds: float) -> None:
    """Count a committed transaction."""
    _transactions.labels(role, "committed").inc()
    _transaction_seconds.labels(role).observe(seconds)
    _log.debug("transaction_committed", role=role, records=records, seconds=round(seconds, 4))


def transaction_lost(role: str, reason: str) -> None:
    """Count and log a transaction whose producer must be discarded."""
    _transactions.labels(role, "lost").inc()
    _log.warning("transaction_lost", role=role, reason=reason)


def fenced(role: str, name: str) -> None:
    """Count and log that another owner took over."""
    _transactions.labels(role, "fenced").inc()
    _log.warning("fenced", role=role, name=name)


def ownership(role: str, name: str, owned: int) -> None:
    """Show and log what this process works on."""
    _owned.labels(role, name).set(owned)
    _log.info("ownership", role=role, name=name, owned=owned)


def events_published(source: str, count: int, late: int) -> None:
    """Count events that a committed transaction made visible."""
    _events.labels(source, "false").inc(count - late)
    _events.labels(source, "true").inc(late)
    _log.debug("events_published", source=source, count=count, late=late)


def swept(source: str, kind: Literal["shallow", "deep", "climb"], requests: int) -> None:
    """Count a completed pass over the feed."""
    _sweeps.labels(source, kind).inc()
    _log.debug("swept", source=source, kind=kind, requests=requests)


def position(source: str, frontier: float | None, fresh_until: float) -> None:
    """Show how far a source has come; both in seconds since 1970."""
    if frontier is not None:
        _frontier.labels(source).set(frontier)
    _fresh_until.labels(source).set(fresh_until)


def order_violated(source: str) -> None:
    """Count and log a page that is not sorted by time."""
    _order_violations.labels(source).inc()
    _log.warning("feed_order_violated", source=source)


def gap_suspected(source: str) -> None:
    """Count and log that the end of the feed was met before anything known."""
    _gaps.labels(source).inc()
    _log.warning("gap_suspected", source=source)


def missions_unknown(source: str, runs: int) -> None:
    """Count runs whose mission could not be found."""
    _unknown_missions.labels(source).inc(runs)


def dead_letter(side: Literal["events", "commands"], reason: str, **where: object) -> None:
    """Count and log a record that could not be converted."""
    _dead_letters.labels(side, reason).inc()
    _log.warning("dead_letter", side=side, reason=reason, **where)


def commands_gone(partition: int, first: int, last: int) -> None:
    """Log offsets that the topic lost (by retention) before they were read."""
    _log.warning("commands_gone", partition=partition, first=first, last=last)


def command_finished(verb: str, status: str, seconds: float) -> None:
    """Count one result of a command."""
    _commands.labels(verb, status).inc()
    _command_seconds.labels(verb).observe(seconds)
    _log.debug("command_finished", verb=verb, status=status, seconds=round(seconds, 3))


def readiness(*, ready: bool, reason: str) -> None:
    """Show readiness and log each change of it."""
    _ready.set(ready)
    if ready:
        _log.info("ready")
    else:
        _log.info("not_ready", reason=reason)
