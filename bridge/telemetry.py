"""One function per notable event that counts it and logs it; the metrics are in `metrics.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import structlog
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from bridge import metrics
from bridge.clock import Clock

REMINDER_SECONDS = 30.0
"""What goes on failing is logged again after so many seconds."""

METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST


def log(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


_log = log("bridge")
_clock = Clock()
_told: dict[tuple[str, str], float] = {}


def exposition() -> bytes:
    """Return all metrics as OpenMetrics text."""
    text: bytes = generate_latest(metrics.METRICS)  # type: ignore[no-untyped-call]
    return text


def api_answered(operation: str, status: str, seconds: float) -> None:
    """Count one answer of the Missions API; `status` is the code or the kind of failure."""
    metrics.api_requests.labels(operation, status).inc()
    metrics.api_seconds.labels(operation).observe(seconds)


def api_waiting(seconds: float, reason: str) -> None:
    """Count and log a pause that the API asked for."""
    metrics.api_waits.inc(seconds)
    _log.info("api_waiting", seconds=round(seconds, 3), reason=reason)


def dependency_away(name: str, reason: str, *, of: str = "") -> None:
    """Count one failed try to use a dependency; log it when it is news.

    That is the first of a row of failures, and a reminder every half a minute. `of` says for whose
    use, where several parts use it and each has a row of its own.
    """
    metrics.failures.labels(name).inc()
    if _is_news(name, of):
        _log.warning("dependency_away", dependency=name, reason=reason, **_whose(of))


def _is_news(name: str, of: str) -> bool:
    """Whether something that goes on happening is to be logged again."""
    now = _clock.monotonic()
    if now - _told.get((name, of), -REMINDER_SECONDS) < REMINDER_SECONDS:
        return False
    _told[name, of] = now
    return True


def dependency_back(name: str, *, of: str = "") -> None:
    """Log that a dependency can be used again, if it was away."""
    if _told.pop((name, of), None) is not None:
        _log.info("dependency_back", dependency=name, **_whose(of))


def _whose(of: str) -> dict[str, str]:
    return {"of": of} if of else {}


def transaction_committed(role: str, records: int, seconds: float) -> None:
    """Count a committed transaction."""
    metrics.transactions.labels(role, "committed").inc()
    metrics.transaction_seconds.labels(role).observe(seconds)
    _log.debug("transaction_committed", role=role, records=records, seconds=round(seconds, 4))


def transaction_lost(role: str, reason: str) -> None:
    """Count and log a transaction whose producer must be discarded."""
    metrics.transactions.labels(role, "lost").inc()
    _log.warning("transaction_lost", role=role, reason=reason)


def fenced(role: str, name: str) -> None:
    """Count and log that another owner took over."""
    metrics.transactions.labels(role, "fenced").inc()
    _log.warning("fenced", role=role, name=name)


def ownership(role: str, name: str, owned: int) -> None:
    """Show and log what this process works on."""
    metrics.owned.labels(role, name).set(owned)
    _log.info("ownership", role=role, name=name, owned=owned)


def events_published(source: str, count: int, late: int) -> None:
    """Count events that a committed transaction made visible."""
    metrics.events.labels(source, "false").inc(count - late)
    metrics.events.labels(source, "true").inc(late)
    _log.debug("events_published", source=source, count=count, late=late)


def swept(source: str, kind: str, requests: int) -> None:
    """Count a completed pass over the feed."""
    metrics.sweeps.labels(source, kind).inc()
    _log.debug("swept", source=source, kind=kind, requests=requests)


def position(
    source: str,
    *,
    frontier: float | None,
    complete_until: float | None,
    fresh_until: float,
    lateness: float,
    clock_step: float,
) -> None:
    """Show how far a source has come, in seconds since 1970; its lateness window, and the step."""
    if frontier is not None:
        metrics.frontier.labels(source).set(frontier)
    if complete_until is not None:
        metrics.complete_until.labels(source).set(complete_until)
    metrics.fresh_until.labels(source).set(fresh_until)
    metrics.lateness_window.labels(source).set(lateness)
    metrics.clock_step.labels(source).set(clock_step)


def lateness_measured(source: str, seconds: Iterable[float]) -> None:
    """Count events by how late they were."""
    for one in seconds:
        metrics.lateness.labels(source).observe(one)


def events_mutated(source: str, count: int) -> None:
    """Count and log events that came again with other content."""
    if count:
        metrics.mutated.labels(source).inc(count)
        _log.warning("events_mutated", source=source, count=count)


def run_audited(source: str, outcome: str) -> None:
    """Count a run whose own list was compared with what is published."""
    metrics.audited.labels(source, outcome).inc()


def run_sealed(source: str) -> None:
    """Count a finished run that is complete."""
    metrics.sealed.labels(source).inc()


def audits_waiting(source: str, count: int) -> None:
    """Show how many runs are due to be audited."""
    metrics.audits_waiting.labels(source).set(count)


def list_served_otherwise(what: str, reason: str) -> None:
    """Count and log that a list is served in another way than was learned before."""
    metrics.otherwise.inc()
    _log.info("list_served_otherwise", list=what, reason=reason)


def api_row_unfit(kind: str, left_out: Literal["row", "fields"], reason: str) -> None:
    """Count an object that did not fit, by what was left out of it; log it when it is news."""
    metrics.rows_unfit.labels(kind, left_out).inc()
    if _is_news("api_rows", f"{kind} {left_out}"):
        _log.warning("api_row_unfit", kind=kind, left_out=left_out, reason=reason)


def stale_page(age: int) -> None:
    """Count a page that a cache had kept for so many seconds."""
    metrics.stale_pages.inc()
    _log.debug("stale_page", age=age)


def order_violated(source: str) -> None:
    """Count a pass over a list that is not sorted by time; log it when it is news."""
    metrics.order_violations.labels(source).inc()
    if _is_news("feed_order", source):
        _log.warning("feed_order_violated", source=source)


def gap_suspected(source: str) -> None:
    """Count and log that the end of the feed was met before anything known."""
    metrics.gaps.labels(source).inc()
    _log.warning("gap_suspected", source=source)


def gap_closed(source: str) -> None:
    """Count and log that all runs were read because of a gap."""
    metrics.gaps_closed.labels(source).inc()
    _log.info("gap_closed", source=source)


def missions_unknown(source: str, runs: int) -> None:
    """Count runs whose mission could not be found."""
    metrics.unknown_missions.labels(source).inc(runs)


def dead_letter(side: Literal["events", "commands"], reason: str, **where: object) -> None:
    """Count and log a record that could not be converted."""
    metrics.dead_letters.labels(side, reason).inc()
    _log.warning("dead_letter", side=side, reason=reason, **where)


def commands_gone(partition: int, first: int, last: int) -> None:
    """Log offsets that the topic lost (by retention) before they were read."""
    _log.warning("commands_gone", partition=partition, first=first, last=last)


def command_finished(verb: str, status: str, seconds: float) -> None:
    """Count one result of a command."""
    metrics.commands.labels(verb, status).inc()
    metrics.command_seconds.labels(verb).observe(seconds)
    _log.debug("command_finished", verb=verb, status=status, seconds=round(seconds, 3))


def command_overtaken(partition: int, offset: int) -> None:
    """Count a command that is decided anew because another owner had gone on with it."""
    metrics.overtaken.inc()
    _log.debug("command_overtaken", partition=partition, offset=offset)


def commands_in_doubt(count: int) -> None:
    """Show how many commands' effects are looked for."""
    metrics.commands_in_doubt.set(count)


def doubt_settled(verb: str, outcome: Literal["found", "absent", "in_doubt"]) -> None:
    """Count a request without a clear answer that was looked into."""
    metrics.doubts_settled.labels(verb, outcome).inc()
    _log.info("doubt_settled", verb=verb, outcome=outcome)


def carried_out_twice(command_id: str, others: tuple[str, ...]) -> None:
    """Count and log a command that the API carried out more than once."""
    metrics.carried_out_twice.inc()
    _log.error("carried_out_twice", command_id=command_id, others=others)


def brake_set(what: str, set_by: str, reason: str | None) -> None:
    """Log that commands are held back."""
    _log.warning("brake_set", holds=what, set_by=set_by, reason=reason)


def brake_lifted(what: str) -> None:
    """Log that commands are held back no longer."""
    _log.info("brake_lifted", held=what)


def commands_braked(brakes: int) -> None:
    """Show how many brakes are set."""
    metrics.commands_braked.set(brakes)


def commands_held(counts: Mapping[str, int]) -> None:
    """Show how many commands wait because of a brake or the fuse."""
    for by in ("brake", "fuse"):
        metrics.commands_held.labels(by).set(counts.get(by, 0))


def reply_refused(reason: str) -> None:
    """Count and log a result that is not copied where its command asked for."""
    metrics.replies_refused.inc()
    _log.info("reply_refused", reason=reason)


def reply_failed(topic: str, copies: int, reason: str) -> None:
    """Log copies of results that could not be written; they are tried again."""
    _log.warning("reply_failed", topic=topic, copies=copies, reason=reason)


def replies_given_up(topic: str, copies: int, reason: str) -> None:
    """Count and log copies of results that are given up; the results are where they always are."""
    metrics.replies_refused.inc(copies)
    _log.error("replies_given_up", topic=topic, copies=copies, reason=reason)


def log_line_dropped() -> None:
    """Count a line of the log that cannot be written."""
    metrics.log_lines_dropped.inc()


def log_lines_were_dropped(count: int) -> None:
    """Log how many lines are missing before this one."""
    _log.warning("log_lines_dropped", count=count)


def partition_waits(partition: int, reason: str) -> None:
    """Log that a partition of commands waits, because its ledger cannot be read."""
    _log.error("partition_waits", partition=partition, reason=reason)


def source_held_back(source: str, reason: str | None) -> None:
    """Show whether a source waits because of its checkpoint, and log why when it is news."""
    metrics.sources_held_back.labels(source).set(reason is not None)
    if reason is not None and _is_news("checkpoint", source):
        _log.error("source_held_back", source=source, reason=reason)
    elif reason is None and _told.pop(("checkpoint", source), None) is not None:
        _log.info("source_goes_on", source=source)


def foreign_record(key: str, reason: str) -> None:
    """Log a record of another source's checkpoint that says nothing; it is passed over."""
    _log.warning("foreign_record", key=key, reason=reason)


def readiness(*, ready: bool, reason: str) -> None:
    """Show readiness and log each change of it."""
    metrics.ready.set(ready)
    if ready:
        _log.info("ready")
    else:
        _log.info("not_ready", reason=reason)
