"""Every metric, declared once; `telemetry.py` counts. What each means is its documentation.

Labels are few and bounded: never ids, URLs or exception texts.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

METRICS = CollectorRegistry()

api_requests = Counter(
    "bridge_api_requests",
    "Answers of the Missions API, by operation and status (or the kind of failure).",
    ["operation", "status"],
    registry=METRICS,
)
api_seconds = Histogram(
    "bridge_api_request_seconds",
    "Time from asking the Missions API to the whole answer, waiting for the rate budget left out.",
    ["operation"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=METRICS,
)
api_waits = Counter(
    "bridge_api_wait_seconds",
    "Seconds spent waiting because the API answered 429 or its window was nearly used up.",
    registry=METRICS,
)
transactions = Counter(
    "bridge_transactions",
    "Kafka transactions by role (source, commands) and outcome (committed, lost, fenced).",
    ["role", "outcome"],
    registry=METRICS,
)
transaction_seconds = Histogram(
    "bridge_transaction_seconds",
    "Time from beginning a Kafka transaction to its commit.",
    ["role"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
    registry=METRICS,
)
events = Counter(
    "bridge_events_published",
    "Events written to Kafka, by source and whether they are marked late.",
    ["source", "late"],
    registry=METRICS,
)
fresh_until = Gauge(
    "bridge_source_fresh_until_timestamp_seconds",
    "The API's time up to which the feed was seen: the last poll's start, or a climb's height.",
    ["source"],
    registry=METRICS,
)
frontier = Gauge(
    "bridge_source_frontier_timestamp_seconds",
    "The frontier: below it, less the lateness window, the last deep sweep left nothing unread.",
    ["source"],
    registry=METRICS,
)
sweeps = Counter(
    "bridge_sweeps",
    "Completed passes over the feed, by source and kind (shallow, deep, climb).",
    ["source", "kind"],
    registry=METRICS,
)
order_violations = Counter(
    "bridge_feed_order_violations",
    "Pages of the feed that were not sorted by time.",
    ["source"],
    registry=METRICS,
)
gaps = Counter(
    "bridge_feed_gaps",
    "Times that events may be where no sweep reads: off the feed's end, or below a clock set back.",
    ["source"],
    registry=METRICS,
)
gaps_closed = Counter(
    "bridge_feed_gaps_closed",
    "Gaps after which every run's own list was read.",
    ["source"],
    registry=METRICS,
)
complete_until = Gauge(
    "bridge_source_complete_until_timestamp_seconds",
    "The watermark: all events up to it that the API's lists show are published.",
    ["source"],
    registry=METRICS,
)
lateness = Histogram(
    "bridge_event_lateness_seconds",
    "How far below the frontier an event's timestamp was when it was first seen; later ones only.",
    ["source"],
    buckets=(1, 10, 60, 300, 900, 1800, 3600, 7200, 86400),
    registry=METRICS,
)
lateness_window = Gauge(
    "bridge_source_lateness_window_seconds",
    "The lateness window in use: as set, or more where events were measured to be later.",
    ["source"],
    registry=METRICS,
)
clock_step = Gauge(
    "bridge_source_clock_step_seconds",
    "By how much the API's clock was set, or is another on some of its machines, of late; 0: none.",
    ["source"],
    registry=METRICS,
)
mutated = Counter(
    "bridge_events_mutated",
    "Events that came again with other content; the topic keeps the first.",
    ["source"],
    registry=METRICS,
)
audited = Counter(
    "bridge_runs_audited",
    "Runs whose own list was compared: complete, found (something was published), gone, failed, "
    "unprovable (the topic no longer reaches back).",
    ["source", "outcome"],
    registry=METRICS,
)
sealed = Counter(
    "bridge_runs_sealed",
    "Finished runs found complete twice, a lateness window apart.",
    ["source"],
    registry=METRICS,
)
audits_waiting = Gauge(
    "bridge_audits_waiting",
    "Runs that are due to be audited.",
    ["source"],
    registry=METRICS,
)
otherwise = Counter(
    "bridge_list_served_otherwise",
    "Passes begun anew because page size or order were other than those learned before.",
    registry=METRICS,
)
rows_unfit = Counter(
    "bridge_api_rows_unfit",
    "Objects of the API that did not fit, by kind and by what was left out: some of their fields, "
    "or the whole row of a list.",
    ["kind", "left_out"],
    registry=METRICS,
)
stale_pages = Counter(
    "bridge_api_stale_pages",
    "Pages that came out of a cache (Age header).",
    registry=METRICS,
)
unknown_missions = Counter(
    "bridge_events_mission_unknown",
    "Runs whose mission could not be found; their events have a null mission_id.",
    ["source"],
    registry=METRICS,
)
owned = Gauge(
    "bridge_owned",
    "What this process works on: 1 for each source, and the number of command partitions.",
    ["role", "name"],
    registry=METRICS,
)
sources_held_back = Gauge(
    "bridge_source_held_back",
    "1 while a source waits because its checkpoint does not fit together; /readyz says what mends"
    " it.",
    ["source"],
    registry=METRICS,
)
dead_letters = Counter(
    "bridge_dead_letters",
    "Records that could not be converted, by side (events, commands) and reason.",
    ["side", "reason"],
    registry=METRICS,
)
commands = Counter(
    "bridge_command_results",
    "Results of commands, by verb and status.",
    ["verb", "status"],
    registry=METRICS,
)
command_seconds = Histogram(
    "bridge_command_seconds",
    "Time from receiving a command to its final result.",
    ["verb"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300),
    registry=METRICS,
)
overtaken = Counter(
    "bridge_commands_overtaken",
    "Times that a command was decided anew because another owner had gone on with it.",
    registry=METRICS,
)
commands_in_doubt = Gauge(
    "bridge_commands_in_doubt",
    "Commands whose request had no clear answer and whose effect is looked for.",
    registry=METRICS,
)
commands_braked = Gauge(
    "bridge_commands_braked",
    "Brakes that are set, also by the breaker; 0 when nothing is held back.",
    registry=METRICS,
)
commands_held = Gauge(
    "bridge_commands_held",
    "Commands of this process that wait because of a brake, or of the fuse on run starts.",
    ["by"],
    registry=METRICS,
)
replies_refused = Counter(
    "bridge_command_replies_refused",
    "Results that were not copied to the reply_topic of their command; their header or the log"
    " says why.",
    registry=METRICS,
)
doubts_settled = Counter(
    "bridge_command_doubts_settled",
    "Requests without a clear answer, by verb and what looking for the effect showed: found, absent"
    " (and then repeated), in_doubt.",
    ["verb", "outcome"],
    registry=METRICS,
)
carried_out_twice = Counter(
    "bridge_commands_carried_out_twice",
    "Commands of which the API shows more than one effect.",
    registry=METRICS,
)
failures = Counter(
    "bridge_dependency_failures",
    "Failed tries to use a dependency (api, api key, kafka, registry).",
    ["dependency"],
    registry=METRICS,
)
log_lines_dropped = Counter(
    "bridge_log_lines_dropped",
    "Lines of the log that were dropped because nobody reads standard error, or it is closed.",
    registry=METRICS,
)
ready = Gauge("bridge_ready", "1 when ready, else 0; /readyz has the reason.", registry=METRICS)
