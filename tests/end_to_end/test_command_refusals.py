"""Commands that must not be carried out, or not again: each has the result that says why."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from support import commands
from support.brokers import Broker
from support.commands import Command, order
from support.kafka import Sent, list_topics, read_topic, write_topic
from support.stage import CANARY, Bridge, Stage, stage, wait_for

from bridge.clock import SECOND, Clock

HOUR = 3_600 * SECOND
QUICK = {"BRIDGE_API__TIMEOUT": "1", "BRIDGE_COMMANDS__SETTLE": "2"}
HOSTILE_IDS = ["..", "%2e%2e", "a/b", "x?y", "x#y", "x\r\nHost: y", "x" * 10_000, "ünï", "", " "]

Told = dict[str, list[dict[str, Any]]]


def told(scene: Stage, bridge: Bridge) -> Told:
    """Return the results of each command, in their order, once all is done."""
    commands.expect_all_done(scene, bridge)
    by_id: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in commands.results(scene):
        by_id[result["command_id"]].append(result)
    return by_id


def shape(results: list[dict[str, Any]]) -> list[tuple[str, str | None, bool]]:
    return [
        (result["status"], result["error"] and result["error"]["code"], result["final"])
        for result in results
    ]


def requests(scene: Stage) -> Any:
    return scene.control("ledger?part=requests")["requests"]


def test_a_command_is_carried_out_once_however_often_it_is_sent(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        bridge = scene.run("--only", "commands").ready()
        run = scene.insert()[0]
        first = commands.start(run["mission_id"])
        commands.produce(scene, [first, first, {**first, "body": {"input": '{"other":1}'}}])
        once, again, other = told(scene, bridge)[first["command_id"]]
        assert shape([once]) == [("SUCCEEDED", None, True)]
        assert shape([again]) == [("DUPLICATE", "duplicate", False)]
        assert (again["run_id"], again["response"]) == (once["run_id"], once["response"])
        assert shape([other]) == [("REJECTED", "id_reused", False)]

        topic = f"{scene.prefix}.commands"
        old = [Sent(record.key, record.value) for record in read_topic(scene.broker, topic)]
        write_topic(scene.broker, topic, old)
        bridge.kill()
        bridge = scene.run("--only", "commands").ready()
        replayed = told(scene, bridge)[first["command_id"]][3:]
        assert [result["status"] for result in replayed] == ["DUPLICATE", "DUPLICATE", "REJECTED"]
        assert not any(result["final"] for result in replayed)
        assert [effect["operation"] for effect in scene.effects()] == ["start_run"]
        assert bridge.stop() == 0


def odd_commands(mission_id: str, run_id: str) -> list[tuple[Command, tuple[str, str | None]]]:
    """Return commands with the status and the code of the error that each must end with."""
    now = Clock().now()
    about = mission_id, run_id
    invalid = ("REJECTED", "invalid")
    step = {"step_id": "a", "description": "d", "sequence": 1}
    return [
        ({**order("pause_run", *about), "expires_at": now - HOUR}, ("EXPIRED", "expired")),
        ({**order("pause_run", *about), "issued_at": now + 24 * HOUR}, ("SUCCEEDED", None)),
        (order("pause_run", *about), ("ALREADY_DONE", None)),
        (order("resume_run", mission_id), invalid),
        (order("cancel_run", None, run_id), invalid),
        ({**order("pause_run", *about), "type": "fly_run", "branch": "PauseRun"}, invalid),
        ({**order("pause_run", *about), "branch": "CancelRun"}, invalid),
        ({**order("pause_run", *about), "command_id": "a b"}, invalid),
        ({**order("pause_run", *about), "on_doubt": "resolve"}, invalid),
        (order("start_run", mission_id, input="[1]"), invalid),
        (order("start_run", mission_id, input='{"n":NaN}'), invalid),
        (order("update_step", *about, step_id="none", status="done"), invalid),
        (
            order("update_step", *about, step_id="none", status="completed"),
            ("REJECTED", "api_rejected"),
        ),
        (order("create_plan", *about, steps=[step, step]), ("REJECTED", "api_rejected")),
        (order("cancel_run", *about), ("SUCCEEDED", None)),
        (order("resume_run", *about), ("REJECTED", "api_rejected")),
    ]


def test_what_is_late_mistaken_or_impossible_has_its_own_result(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        run = scene.insert()[0]
        bridge = scene.run("--only", "commands", **QUICK).ready()
        odd = odd_commands(run["mission_id"], run["run_id"])
        commands.produce(scene, [command for command, _ in odd])
        results = told(scene, bridge)
        for command, (status, code) in odd:
            assert shape(results[command["command_id"]]) == [(status, code, True)], command
        assert [effect["operation"] for effect in scene.effects()] == ["pause_run", "cancel_run"]
        assert bridge.stop() == 0


def test_ids_that_would_lead_elsewhere_are_never_part_of_a_request(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        run = scene.insert()[0]
        about = run["mission_id"], run["run_id"]
        bridge = scene.run("--only", "commands").ready()
        before = requests(scene)
        hostile = [
            made
            for bad in HOSTILE_IDS
            for made in (
                order("start_run", bad),
                order("pause_run", run["mission_id"], bad),
                order("pause_run", bad, run["run_id"]),
                order("update_step", *about, step_id=bad, status="completed"),
                order("unlink_agent", *about, telnyx_agent_id=bad),
            )
        ]
        commands.produce(scene, hostile)
        results = told(scene, bridge)
        for command in hostile:
            assert shape(results[command["command_id"]]) == [("REJECTED", "invalid", True)], command
        assert requests(scene) == before
        assert bridge.stop() == 0


def test_what_the_operator_does_not_allow_is_answered_and_not_done(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        ours, other = scene.insert()[0], scene.insert()[0]
        rules = {"BRIDGE_COMMANDS__MISSIONS": ours["mission_id"]}
        bridge = scene.run("--only", "commands", **rules).ready()
        delete = order("delete_mission", ours["mission_id"])
        elsewhere = order("cancel_run", other["mission_id"], other["run_id"])
        allowed = order("cancel_run", ours["mission_id"], ours["run_id"])
        commands.produce(scene, [delete, elsewhere, allowed])
        results = told(scene, bridge)
        denied = "UNAUTHORIZED"
        assert shape(results[delete["command_id"]]) == [(denied, "verb_not_allowed", True)]
        assert shape(results[elsewhere["command_id"]]) == [(denied, "mission_not_allowed", True)]
        assert shape(results[allowed["command_id"]]) == [("SUCCEEDED", None, True)]
        assert [effect["operation"] for effect in scene.effects()] == ["cancel_run"]
        assert bridge.stop() == 0


def test_a_key_that_the_api_repeats_is_nowhere_to_be_seen(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, api_key=CANARY) as scene:
        run = scene.insert()[0]
        bridge = scene.run("--only", "commands", **QUICK).ready()
        for operation, status in (("pause_run", 400), ("start_run", 500), ("link_agent", 200)):
            text = f'{{"detail": "{CANARY}"}}'
            echo = {"kind": "body", "operation": operation, "text": text, "times": 1}
            scene.control("faults", {**echo, "status": status})
        about = run["mission_id"], run["run_id"]
        orders = [
            order("link_agent", *about, telnyx_agent_id="assistant-1"),
            order("cancel_run", *about),
            order("pause_run", *about),
            commands.start(run["mission_id"]),
        ]
        commands.produce(scene, orders)
        commands.expect_all_done(scene, bridge)
        for path in ("/status", "/metrics", "/readyz"):
            assert CANARY.encode() not in bridge.read(path)[1]
        assert bridge.stop() == 0
        refused = [r for r in commands.results(scene) if r["status"] == "REJECTED"]
        assert [result["error"]["http_body"] for result in refused] == ['{"detail": "[key]"}']
        for topic in list_topics(scene.broker):
            if topic.startswith(scene.prefix):
                for record in read_topic(scene.broker, topic):
                    assert CANARY not in str(record), topic


def test_each_account_has_its_own_key_and_a_refused_one_stops_no_other(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    own = "KEY1canary1of1another1source"
    with stage(kafka, topic_prefix, tmp_path) as scene:
        settings = {"BRIDGE_SOURCE__NAME": "mine", "BRIDGE_SOURCE__API_KEY": own}
        bridge = scene.run("--only", "commands", **settings).ready()
        mission = scene.insert()[0]["mission_id"]
        scene.control("key", {"api_key": own})
        held = commands.start(mission)
        mine, unknown = (order("create_mission", name=name) for name in ("one", "two"))
        mine["account"], unknown["account"] = "mine", "somebody-else"
        commands.produce(scene, [held])
        wait_for(lambda: "api key" in bridge.reason)
        commands.produce(scene, [mine, unknown])
        wait_for(lambda: len(commands.results(scene)) == 2)
        told = {result["command_id"]: result for result in commands.results(scene)}
        assert shape([told[mine["command_id"]]]) == [("SUCCEEDED", None, True)]
        assert shape([told[unknown["command_id"]]]) == [("REJECTED", "unknown_account", True)]
        assert told[mine["command_id"]]["account"] == "mine"

        scene.control("key", {"api_key": CANARY})
        commands.expect_all_done(scene, bridge)
        (last,) = [r for r in commands.results(scene) if r["command_id"] == held["command_id"]]
        assert (last["status"], last["account"]) == ("SUCCEEDED", None)
        assert scene.effect_count == 2
        assert bridge.stop() == 0
        assert own not in bridge.output
