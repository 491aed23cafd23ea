"""The order of the checks, and the parts of policy that are plain arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from commands_world import MISSION, RUN

from bridge.commands import model, policy
from bridge.commands.model import (
    Command,
    Entry,
    Kind,
    Outcome,
    Problem,
    Received,
    Status,
    Verb,
    first_sight,
)
from bridge.commands.policy import Fuse, Proceed, Refuse, Rules, TellAgain
from bridge.config.types import VERBS
from bridge.kafka.partition import crc32, murmur2

BODY = {"input": None, "metadata": None}
COMMAND = Command("c1", "start_run", MISSION, None, None, None, None, "StartRun", BODY)
KEY = MISSION.encode()
HERE = Received(murmur2(KEY, 6), 7, KEY, b"", (), 1)
RULES = Rules(frozenset(VERBS), None, murmur2, frozenset({"other"}))
DONE = Outcome(Status.SUCCEEDED, 2, response="{}", run_id=RUN)


def decide(
    command: Command = COMMAND,
    received: Received = HERE,
    known: Entry | None = None,
    rules: Rules = RULES,
) -> policy.Decision:
    return policy.decide(command, received, known, rules, partitions=6, now=5)


def code(decision: policy.Decision) -> str:
    assert isinstance(decision, Refuse)
    assert decision.outcome.problem is not None
    return decision.outcome.problem.code


def earlier(kind: Kind, offset: int, outcome: Outcome | None = None) -> Entry:
    return replace(first_sight(COMMAND, HERE), kind=kind, offset=offset, outcome=outcome)


def test_the_verbs_are_those_of_the_settings() -> None:
    assert tuple(verb.value for verb in Verb) == VERBS


def test_a_good_command_proceeds() -> None:
    assert decide() == Proceed(first_sight(COMMAND, HERE))


def test_fields_come_before_the_route() -> None:
    astray = replace(HERE, key=b"else")
    assert code(decide(replace(COMMAND, type="fly_run"), astray)) == "invalid"
    assert code(decide(COMMAND, astray)) == "misrouted"


@pytest.mark.parametrize(
    ("partitioner", "said"), [(murmur2, "murmur2_random"), (crc32, "consistent_random")]
)
def test_a_producer_is_told_which_partitioner_to_set(partitioner: Any, said: str) -> None:
    right = partitioner(KEY, 6)
    rules = replace(RULES, partitioner=partitioner)
    answer = decide(received=replace(HERE, partition=(right + 1) % 6), rules=rules)
    assert isinstance(answer, Refuse)
    assert answer.outcome.problem is not None
    told = answer.outcome.problem.message
    assert f"partition {right}, not {(right + 1) % 6}, of 6" in told
    assert f"partitioner={said}" in told
    assert "BRIDGE_" not in told


def test_the_route_comes_before_the_ledger() -> None:
    known = earlier(Kind.DONE, offset=1, outcome=DONE)
    astray = decide(received=replace(HERE, key=b"else"), known=known)
    assert code(astray) == "misrouted"


def test_the_ledger_comes_before_what_is_allowed() -> None:
    known = earlier(Kind.DONE, offset=1, outcome=DONE)
    nothing = replace(RULES, allow=frozenset())
    assert code(decide(known=known, rules=nothing)) == "duplicate"
    assert code(decide(rules=nothing)) == "verb_not_allowed"


def test_a_refusal_of_a_known_id_is_not_final() -> None:
    known = earlier(Kind.DONE, offset=1, outcome=DONE)
    astray = decide(received=replace(HERE, key=b"else"), known=known)
    assert isinstance(astray, Refuse)
    assert not astray.final
    assert not astray.remember


def test_a_command_that_was_begun_and_is_refused_now_is_remembered_as_done() -> None:
    """Rules may change while it waits; without a record it would be taken up at each start."""
    known = earlier(Kind.WITHDRAWN, offset=HERE.offset)
    refused = decide(known=known, rules=replace(RULES, partitioner=crc32))
    assert isinstance(refused, Refuse)
    assert refused.final
    assert refused.remember


def test_the_same_record_again() -> None:
    withdrawn = earlier(Kind.WITHDRAWN, offset=HERE.offset)
    intent = earlier(Kind.INTENT, offset=HERE.offset)
    done = earlier(Kind.DONE, offset=HERE.offset, outcome=DONE)
    assert decide(known=withdrawn) == Proceed(withdrawn)
    assert decide(known=intent) == Proceed(intent)
    assert decide(known=done) == TellAgain(done)


def test_an_announced_command_is_looked_for_whatever_the_rules_say_now() -> None:
    intent = earlier(Kind.INTENT, offset=HERE.offset)
    assert decide(known=intent, rules=replace(RULES, allow=frozenset())) == Proceed(intent)


def test_the_same_id_at_another_offset() -> None:
    done = decide(known=earlier(Kind.DONE, offset=1, outcome=DONE))
    under_way = decide(known=earlier(Kind.INTENT, offset=1))
    other = replace(COMMAND, body={"input": '{"a":1}', "metadata": None})
    reused = decide(other, known=earlier(Kind.DONE, offset=1, outcome=DONE))
    assert (code(done), code(under_way), code(reused)) == ("duplicate", "duplicate", "id_reused")
    assert isinstance(done, Refuse)
    assert (done.outcome.response, done.outcome.run_id, done.final) == ("{}", RUN, False)
    assert isinstance(under_way, Refuse)
    assert under_way.outcome.response is None


@pytest.mark.parametrize(
    ("rules", "partition", "fits"),
    [
        (RULES, murmur2(KEY, 6), True),
        (RULES, crc32(KEY, 6), murmur2(KEY, 6) == crc32(KEY, 6)),
        (replace(RULES, partitioner=crc32), crc32(KEY, 6), True),
        (replace(RULES, partitioner=None), 5, True),
        (replace(RULES, partitioner=None), 0, True),
    ],
)
def test_a_key_belongs_to_the_partition_that_the_partitioner_says(
    rules: Rules,
    partition: int,
    fits: bool,  # noqa: FBT001
) -> None:
    decision = decide(received=replace(HERE, partition=partition), rules=rules)
    assert isinstance(decision, Proceed) == fits


def test_the_key_is_the_narrowest_thing_that_the_command_is_about() -> None:
    assert COMMAND.key == MISSION.encode()
    assert replace(COMMAND, run_id=RUN).key == RUN.encode()
    assert replace(COMMAND, mission_id=None).key == b"c1"


def test_missions_are_compared_without_regard_to_case() -> None:
    upper = replace(COMMAND, mission_id=MISSION.upper())
    received = replace(HERE, key=upper.key, partition=murmur2(upper.key, 6))
    rules = replace(RULES, missions=frozenset({MISSION}))
    assert isinstance(decide(upper, received, rules=rules), Proceed)


def test_a_fingerprint_is_of_what_is_asked_for() -> None:
    later_schema = replace(COMMAND, body=BODY | {"added_later": None})
    assert later_schema.fingerprint == COMMAND.fingerprint
    assert replace(COMMAND, expires_at=9).fingerprint == COMMAND.fingerprint
    others = [
        replace(COMMAND, mission_id=None),
        replace(COMMAND, run_id=MISSION, mission_id=None),
        replace(COMMAND, account="a"),
        replace(COMMAND, body={"input": "{}", "metadata": None}),
        replace(COMMAND, body={"input": None, "metadata": "{}"}),
    ]
    assert len({command.fingerprint for command in (COMMAND, *others)}) == 6


@pytest.mark.parametrize(("expires_at", "over"), [(None, False), (5, True), (6, False), (4, True)])
def test_a_command_holds_until_its_expiry(expires_at: int | None, over: bool) -> None:  # noqa: FBT001
    outcome = policy.expired(replace(COMMAND, expires_at=expires_at), now=5)
    assert (outcome is not None) == over


def test_the_fuse_lets_so_many_pass_in_any_minute() -> None:
    fuse = Fuse(2)
    assert [fuse.wait(now) for now in (0.0, 10.0)] == [0.0, 0.0]
    assert fuse.wait(20.0) == pytest.approx(40.0)
    assert fuse.wait(60.0) == 0.0
    assert fuse.wait(61.0) == pytest.approx(9.0)


def test_long_answers_are_left_out_and_said_to_be() -> None:
    long = Outcome(Status.SUCCEEDED, 1, response="x" * (model.TEXT_LIMIT + 1))
    assert model.fit(long).response is None
    problem = model.fit(long).problem
    assert problem is not None
    assert problem.code == "response_too_large"
    body = Outcome(Status.REJECTED, 1, Problem("api_rejected", "no", "y" * 100_000))
    cut = model.fit(body).problem
    assert cut is not None
    assert cut.http_body is not None
    assert len(cut.http_body) < 20_000
    assert model.fit(DONE) == DONE
