"""The alerts: each name in them is measured, each is documented, each fires and is quiet again."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from support.helm import CHART

from bridge import metrics

ROOT = Path(__file__).parents[2]
RULES = CHART / "files" / "rules.yaml"
OPERATIONS = (ROOT / "docs" / "OPERATIONS.md").read_text()
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
}
FIRING_NOW = 'count(ALERTS{alertname="%s",alertstate="firing"}) or vector(0)'
POD = 'namespace="n",job="bridge",instance="a:9464"'

# What makes each alert fire, by series and the values it has minute by minute: (samples, minutes).
FIRING: dict[str, tuple[dict[str, str], int]] = {
    "MissionBridgeNotReady": ({"bridge_ready{%s}": "0x10"}, 6),
    "MissionBridgeSourceBehind": (
        {'bridge_source_fresh_until_timestamp_seconds{%s,source="s"}': "30x10"},
        5,
    ),
    "MissionBridgeSourceUnowned": ({'bridge_owned{%s,role="source",name="s"}': "0x10"}, 3),
    "MissionBridgeIncomplete": (
        {'bridge_source_complete_until_timestamp_seconds{%s,source="s"}': "0x200"},
        130,
    ),
    "MissionBridgeGapOpen": (
        {
            'bridge_feed_gaps_total{%s,source="s"}': "1x200",
            'bridge_feed_gaps_closed_total{%s,source="t"}': "1x200",
        },
        65,
    ),
    "MissionBridgeClockStepped": (
        {
            'bridge_source_clock_step_seconds{%s,source="s"}': "90x10",
            'bridge_owned{%s,role="source",name="s"}': "1x10",
        },
        3,
    ),
    "MissionBridgeFeedUnordered": (
        {'bridge_feed_order_violations_total{%s,source="s"}': "_x30 1x30"},
        33,
    ),
    "MissionBridgeRunUnprovable": (
        {'bridge_runs_audited_total{%s,source="s",outcome="unprovable"}': "_x30 1x30"},
        33,
    ),
    "MissionBridgeEventsMutated": (
        {'bridge_events_mutated_total{%s,source="s"}': "_x30 1x30"},
        33,
    ),
    "MissionBridgeAuditsWaiting": (
        {
            'bridge_audits_waiting{%s,source="s"}': "200x90",
            'bridge_owned{%s,role="source",name="s"}': "1x90",
        },
        70,
    ),
    "MissionBridgeDeadLetters": (
        {'bridge_dead_letters_total{%s,side="commands",reason="wrong_magic"}': "_x30 1x30"},
        33,
    ),
    "MissionBridgeSourceHeldBack": ({'bridge_source_held_back{%s,source="s"}': "1x10"}, 3),
    "MissionBridgeCommandsBraked": ({"bridge_commands_braked{%s}": "1x90"}, 70),
    "MissionBridgeStartsHeld": ({'bridge_commands_held{%s,by="fuse"}': "3x30"}, 15),
    "MissionBridgeLogLinesDropped": ({"bridge_log_lines_dropped_total{%s}": "0x30 7x30"}, 33),
    "MissionBridgeRepliesRefused": (
        {"bridge_command_replies_refused_total{%s}": "0x30 1x30"},
        33,
    ),
    "MissionBridgeTransactionsLost": (
        {'bridge_transactions_total{%s,role="source",outcome="lost"}': "_x30 1x30"},
        33,
    ),
    "MissionBridgeCommandsInDoubt": (
        {'bridge_command_results_total{%s,verb="start_run",status="IN_DOUBT"}': "_x30 1x30"},
        33,
    ),
    "MissionBridgeDoubtsUnsettled": ({"bridge_commands_in_doubt{%s}": "1x30"}, 15),
    "MissionBridgeCarriedOutTwice": (
        {"bridge_commands_carried_out_twice_total{%s}": "0x30 1x30"},
        33,
    ),
    "MissionBridgeCommandsFailed": (
        {'bridge_command_results_total{%s,verb="start_run",status="FAILED"}': "_x30 1x30"},
        33,
    ),
}

# A bridge that is well, and has been counting for long.
WELL = {
    "bridge_ready{%s}": "1x300",
    'bridge_source_fresh_until_timestamp_seconds{%s,source="s"}': "0+60x300",
    'bridge_source_complete_until_timestamp_seconds{%s,source="s"}': "0+60x300",
    'bridge_owned{%s,role="source",name="s"}': "1x300",
    'bridge_feed_gaps_total{%s,source="s"}': "1x300",
    'bridge_feed_gaps_closed_total{%s,source="s"}': "1x300",
    'bridge_source_clock_step_seconds{%s,source="s"}': "0x300",
    'bridge_audits_waiting{%s,source="s"}': "3x300",
    'bridge_dead_letters_total{%s,side="commands",reason="wrong_magic"}': "5x300",
    'bridge_transactions_total{%s,role="source",outcome="committed"}': "0+9x300",
    'bridge_command_results_total{%s,verb="start_run",status="SUCCEEDED"}': "0+9x300",
    "bridge_commands_carried_out_twice_total{%s}": "1x300",
    "bridge_commands_braked{%s}": "0x300",
    "bridge_commands_in_doubt{%s}": "0x300",
}


def test_every_metric_in_an_alert_is_measured() -> None:
    known = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for metric in metrics.METRICS.collect()
    }
    for name, rule in ALERTS.items():
        named = set(re.findall(r"\bbridge_\w+", f"{rule['expr']} {rule['annotations']}"))
        assert named - {"bridge_reply_error"} <= known, name


def test_every_label_in_an_alert_is_one_of_its_metric() -> None:
    labels = {
        metric._name: set(metric._labelnames)
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
    }
    for name, rule in ALERTS.items():
        for metric, selector in re.findall(r"(bridge_\w+)\{([^}]*)\}", rule["expr"]):
            chosen = set(re.findall(r"(\w+)=", selector))
            assert chosen <= labels[metric.removesuffix("_total")], name


def test_every_alert_is_documented_and_there_is_no_other() -> None:
    rows = set(re.findall(r"^\| `(MissionBridge\w+)` \|", OPERATIONS, re.MULTILINE))
    assert rows == set(ALERTS) == set(FIRING)


def test_every_setting_in_an_alert_exists() -> None:
    named = set(re.findall(r"BRIDGE_[A-Z_]+", RULES.read_text()))
    assert named
    for variable in named:
        assert f"| `{variable}` |" in OPERATIONS


@pytest.mark.parametrize("alert", ALERTS)
def test_the_alert_fires(alert: str, promtool: Path, tmp_path: Path) -> None:
    series, minutes = FIRING[alert]
    expect(promtool, tmp_path, series, minutes, {alert: 1})


@pytest.mark.parametrize("minutes", [20, 60, 200])
def test_no_alert_fires_while_all_is_well(minutes: int, promtool: Path, tmp_path: Path) -> None:
    expect(promtool, tmp_path, WELL, minutes, dict.fromkeys(ALERTS, 0))


def test_an_alert_names_nobody_who_works_when_no_bridge_is_there(
    promtool: Path, tmp_path: Path
) -> None:
    expect(promtool, tmp_path, {}, 5, {"MissionBridgeSourceUnowned": 1})


def test_a_count_that_ended_long_ago_is_no_alert(promtool: Path, tmp_path: Path) -> None:
    for alert in ("MissionBridgeDeadLetters", "MissionBridgeCarriedOutTwice"):
        series, minutes = FIRING[alert]
        expect(promtool, tmp_path, series, minutes + 20, {alert: 0})


def expect(
    tool: Path, folder: Path, series: dict[str, str], minutes: int, firing: dict[str, int]
) -> None:
    """See how many instances of each alert fire after so many minutes of these samples."""
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": name % POD, "values": values} for name, values in series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": FIRING_NOW % alert,
                        "eval_time": f"{minutes}m",
                        "exp_samples": [{"labels": "{}", "value": count}],
                    }
                    for alert, count in firing.items()
                ],
            }
        ],
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump(document))
    done = subprocess.run(
        [str(tool), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
