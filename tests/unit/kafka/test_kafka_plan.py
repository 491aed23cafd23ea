import pytest

from bridge.kafka.topics import ExistingTopic, TopicChange, decide, problems, topic_specs

SPECS = topic_specs("missions")
GOOD = {
    spec.name: ExistingTopic(
        spec.partitions, {"cleanup.policy": spec.cleanup, "max.message.bytes": "1048588"}
    )
    for spec in SPECS.values()
}
STATE, COMMANDS = "missions.command-state", "missions.commands"


def changed(topic: str, partitions: int | None = None, **settings: str) -> dict[str, ExistingTopic]:
    before = GOOD[topic]
    renamed = {name.replace("_", "."): value for name, value in settings.items()}
    after = ExistingTopic(partitions or before.partitions, {**(before.settings or {}), **renamed})
    return {**GOOD, topic: after}


def test_the_topics_are_those_of_the_contract() -> None:
    assert {spec.name: (spec.partitions, spec.cleanup) for spec in SPECS.values()} == {
        "missions.events": (6, "delete"),
        "missions.checkpoint": (1, "compact"),
        "missions.audit": (1, "delete"),
        "missions.events.dlq": (1, "delete"),
        "missions.commands": (6, "delete"),
        "missions.command-results": (6, "delete"),
        "missions.command-state": (6, "compact"),
        "missions.commands.dlq": (1, "delete"),
    }
    for spec in SPECS.values():
        week = "604800000" if spec.cleanup == "delete" else None
        assert spec.config.get("retention.ms") == week


def test_good_topics_need_nothing() -> None:
    assert decide(SPECS, GOOD, 3) == []
    assert problems(SPECS, GOOD) == []


def test_missing_topics_are_created_with_their_settings_and_copies() -> None:
    changes = decide(SPECS, {}, 3)
    assert [change.topic for change in changes] == [spec.name for spec in SPECS.values()]
    assert {change.replication_factor for change in changes} == {3}
    assert changes[1].settings["cleanup.policy"] == "compact"
    assert {change.settings["min.insync.replicas"] for change in changes} == {"2"}
    assert "retention.ms=604800000, min.insync.replicas=2" in str(changes[0])


@pytest.mark.parametrize("copies", [-1, 1, 2])
def test_copies_that_may_be_too_few_are_not_waited_for(copies: int) -> None:
    changes = decide(SPECS, {}, copies)
    assert not any("min.insync.replicas" in change.settings for change in changes)


def test_partition_counts_are_the_users_but_the_ledger_follows_the_commands() -> None:
    found = changed("missions.events", 24)
    assert decide(SPECS, found, -1) == []
    assert problems(SPECS, found) == []

    found = changed(COMMANDS, 12)
    assert decide(SPECS, found, -1) == [TopicChange("grow", STATE, 12)]
    (problem,) = problems(SPECS, found)
    assert f"{STATE} has 6 partitions and must have 12, as many as {COMMANDS}" in problem
    assert "`mission-bridge topics apply`" in problem
    assert decide(SPECS, {COMMANDS: ExistingTopic(12)}, -1)[-2].partitions == 12  # created to fit


def test_a_ledger_with_too_many_partitions_cannot_be_mended_by_us() -> None:
    found = changed(STATE, 12)
    assert decide(SPECS, found, -1) == []
    (problem,) = problems(SPECS, found)
    assert "must have 6" in problem
    assert "apply" not in problem


@pytest.mark.parametrize(
    ("topic", "policy"),
    [
        ("missions.checkpoint", "delete"),
        ("missions.checkpoint", "compact,delete"),
        ("missions.events", "compact"),
    ],
)
def test_a_wrong_cleanup_policy_is_refused_and_mended(topic: str, policy: str) -> None:
    found = changed(topic, cleanup_policy=policy)
    (problem,) = problems(SPECS, found)
    assert f"cleanup.policy={policy}" in problem
    (change,) = decide(SPECS, found, -1)
    assert (change.action, change.topic) == ("configure", topic)


def test_mending_keeps_what_somebody_set_for_the_topic() -> None:
    mine = {"retention.ms": "1"}
    found = {**GOOD, STATE: ExistingTopic(6, {"cleanup.policy": "delete", **mine}, mine)}
    (change,) = decide(SPECS, found, -1)
    assert change.settings == {"retention.ms": "1", "cleanup.policy": "compact"}


def test_settings_that_may_not_be_read_are_not_judged() -> None:
    found = {name: ExistingTopic(topic.partitions, None) for name, topic in GOOD.items()}
    assert problems(SPECS, found) == []
    assert decide(SPECS, found, -1) == []


def test_a_part_of_the_topics_can_be_looked_at_alone() -> None:
    specs = {short: SPECS[short] for short in ("events", "checkpoint", "events.dlq")}
    assert len(problems(specs, {})) == 3
    assert "command" not in str(decide(specs, {}, -1))


def test_changes_read_as_sentences() -> None:
    assert str(TopicChange("grow", "t", 12)) == "grow t to 12 partitions"
    assert str(TopicChange("configure", "t", settings={"a": "1"})) == "configure t: a=1"
    assert str(TopicChange("create", "t", 6, settings={"a": "1"})) == "create t: 6 partitions, a=1"
