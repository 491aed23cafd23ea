"""What a member does with its partitions when the group rebalances, step by step."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from bridge.clock import Clock
from bridge.errors import KafkaAway
from bridge.kafka.client import KafkaClient
from bridge.kafka.consumer import SILENCE, STANDSTILL, Membership, OutOfLog, Received

A, B = TopicPartition("topic", 0), TopicPartition("topic", 1)
SESSION = 10.0


class Time(Clock):
    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at


class Consumer:
    """Stands in for aiokafka's: forgets positions and pauses with each assignment, as it does."""

    def __init__(self) -> None:
        self.given: dict[TopicPartition, dict[str, Any]] = {}
        self.fetched: list[Received] = []
        self.error: Exception | None = None
        self.answers = 0
        self.end = 0
        self.stable = 0
        self._coordinator = SimpleNamespace(coordinator_id=1)

    def give(self, *partitions: TopicPartition) -> None:
        self.given = {at: {"position": None, "paused": False} for at in partitions}

    def assignment(self) -> set[TopicPartition]:
        return set(self.given)

    def seek(self, at: TopicPartition, offset: int) -> None:
        self.given[at]["position"] = offset

    def pause(self, at: TopicPartition) -> None:
        self.given[at]["paused"] = True

    def resume(self, at: TopicPartition) -> None:
        self.given[at]["paused"] = False

    async def position(self, at: TopicPartition) -> int:
        return int(self.given[at]["position"])

    def highwater(self, at: TopicPartition) -> int:
        return self.end

    def last_stable_offset(self, at: TopicPartition) -> int:
        return self.stable

    def last_poll_timestamp(self, at: TopicPartition) -> int:
        return self.answers

    async def getmany(self, *, timeout_ms: int) -> dict[TopicPartition, list[Received]]:
        if self.error is not None:
            raise self.error
        fetched, self.fetched = self.fetched, []
        return {TopicPartition("topic", r.partition): [r] for r in fetched}


class Group:
    """A membership over a consumer that the test moves."""

    def __init__(self) -> None:
        self.time = Time()
        self.consumer = Consumer()
        kafka = SimpleNamespace(consumer=lambda group: self.consumer, session_timeout=SESSION)
        self.member = Membership(
            cast("KafkaClient", kafka), group="g", topics=["topic"], clock=self.time
        )

    def revoke(self) -> None:
        self.member._listener.on_partitions_revoked(set())

    def assign(self, *partitions: TopicPartition) -> None:
        self.consumer.give(*partitions)
        self.member._listener.on_partitions_assigned(set(partitions))

    def rebalance(self, *partitions: TopicPartition) -> None:
        self.revoke()
        self.assign(*partitions)


def record(at: TopicPartition, offset: int) -> Received:
    return ConsumerRecord(at.topic, at.partition, offset, 0, 0, b"k", b"v", None, 1, 1, ())


@pytest.fixture
def group() -> Group:
    return Group()


def test_the_listener_says_that_something_changed_and_touches_nothing(group: Group) -> None:
    group.member._listener.on_partitions_revoked({A})
    assert group.member.changed.is_set()
    group.member.changed.clear()
    group.consumer.give(A)
    group.member._listener.on_partitions_assigned({A})
    assert group.member.changed.is_set()
    assert group.consumer.given[A] == {"position": None, "paused": False}


def test_a_new_partition_is_paused_at_an_explicit_position(group: Group) -> None:
    assert group.member.assigned == frozenset()
    group.rebalance(A)
    assert group.member.assigned == {A}
    assert group.consumer.given[A] == {"position": 0, "paused": True}


async def test_a_kept_partition_goes_on_where_it_was_and_a_new_one_waits(group: Group) -> None:
    group.rebalance(A)
    group.member.seek(A, 5)
    group.member.resume([A])
    group.consumer.fetched = [record(A, 5), record(A, 7)]
    await group.member.poll(0)
    group.rebalance(A, B)
    assert group.member.assigned == {A, B}
    assert group.consumer.given == {
        A: {"position": 8, "paused": False},
        B: {"position": 0, "paused": True},
    }


async def test_a_partition_that_went_and_came_back_is_new(group: Group) -> None:
    group.rebalance(A)
    group.member.seek(A, 5)
    group.member.resume([A])
    group.rebalance()
    assert group.member.assigned == frozenset()
    group.rebalance(A)
    assert group.member.assigned == {A}
    assert group.consumer.given[A] == {"position": 0, "paused": True}


async def test_records_from_before_the_owner_was_ready_are_dropped(group: Group) -> None:
    group.rebalance(A, B)
    group.consumer.fetched = [record(A, 0)]
    assert await group.member.poll(0) == []
    group.member.seek(A, 3)
    group.member.resume([A])
    group.consumer.fetched = [record(A, 2), record(B, 0)]
    assert await group.member.poll(0) == []
    group.consumer.fetched = [record(A, 3)]
    assert [r.offset for r in await group.member.poll(0)] == [3]


async def test_records_that_arrive_during_a_rebalance_are_dropped_and_read_again(
    group: Group,
) -> None:
    group.rebalance(A)
    group.member.resume([A])
    group.revoke()
    group.consumer.fetched = [record(A, 40)]  # where the group's offset is, not the owner's
    assert await group.member.poll(0) == []
    group.assign(A)
    assert await group.member.poll(0) == []
    assert group.consumer.given[A] == {"position": 0, "paused": False}


def test_what_the_owner_asks_for_during_a_rebalance_holds_afterwards(group: Group) -> None:
    group.rebalance(A)
    group.member.resume([A])
    group.revoke()
    group.member.seek(A, 9)
    group.member.pause([A])
    group.assign(A)
    assert group.member.assigned == {A}
    assert group.consumer.given[A] == {"position": 9, "paused": True}


def test_a_rebalance_that_outlasts_the_session_is_the_loss_of_all(group: Group) -> None:
    group.rebalance(A)
    assert group.member.assigned == {A}
    group.revoke()
    group.time.at += SESSION
    assert group.member.assigned == {A}
    group.time.at += 0.1
    assert group.member.assigned == frozenset()
    group.assign(A)
    assert group.consumer.given[A] == {"position": None, "paused": False}
    assert group.member.assigned == {A}
    assert group.consumer.given[A] == {"position": 0, "paused": True}


async def test_a_partition_without_an_offset_of_the_group_is_no_error(group: Group) -> None:
    group.rebalance(A)
    group.consumer.error = NoOffsetForPartitionError(A)
    assert await group.member.poll(0) == []


async def test_an_offset_of_the_group_that_retention_passed_ends_nothing(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka fetches from there before the owner of a new partition can say where to read."""

    async def fetch(*, timeout_ms: int) -> object:
        group.rebalance(A)
        raise OffsetOutOfRangeError({A: 7})

    monkeypatch.setattr(group.consumer, "getmany", fetch)
    assert await group.member.poll(0) == []
    group.consumer.error = OffsetOutOfRangeError({A: 7})
    monkeypatch.undo()
    with pytest.raises(OutOfLog, match="the log does not hold this position") as caught:
        await group.member.poll(0)
    assert caught.value.partitions == {A}


async def test_a_member_that_gets_no_answers_says_so_only_when_it_asked(group: Group) -> None:
    group.rebalance(A)
    group.member._watch(10 * SILENCE)  # paused: nothing is asked
    group.member.resume([A])
    group.member._watch(SILENCE)
    group.consumer.answers += 1
    group.member._watch(SILENCE)
    group.member._watch(SILENCE)
    with pytest.raises(KafkaAway, match="no answer to fetches of topic-0"):
        group.member._watch(1)


async def test_a_member_that_finds_no_coordinator_says_so_also_when_it_reads_nothing(
    group: Group,
) -> None:
    group.rebalance(A)
    group.consumer._coordinator.coordinator_id = None
    group.member._watch(SILENCE)
    group.consumer._coordinator.coordinator_id = 2
    group.member._watch(SILENCE)
    group.consumer._coordinator.coordinator_id = None
    group.revoke()
    group.member._watch(SILENCE)
    with pytest.raises(KafkaAway, match="no coordinator of the group"):
        group.member._watch(1)


async def stand(group: Group, seconds: float) -> None:
    """Take turns for so long, while fetches are answered and bring nothing."""
    getmany = group.consumer.getmany

    async def empty(*, timeout_ms: int) -> dict[TopicPartition, list[Received]]:
        group.consumer.answers += 1
        group.time.at += 1.0
        return await getmany(timeout_ms=timeout_ms)

    group.consumer.getmany = empty  # type: ignore[method-assign]
    for _ in range(round(seconds)):
        await group.member.poll(0)
    group.consumer.getmany = getmany  # type: ignore[method-assign]


def reading(group: Group) -> Group:
    group.rebalance(A)
    group.member.seek(A, 5)
    group.member.resume([A])
    return group


async def test_a_partition_that_stands_before_committed_records_is_given_up(group: Group) -> None:
    reading(group).consumer.end = group.consumer.stable = 9
    with pytest.raises(KafkaAway, match="topic-0 stands at offset 5 of 9"):
        await stand(group, STANDSTILL + 5)


async def test_standing_at_the_end_of_the_log_is_no_reason_to_worry(group: Group) -> None:
    reading(group).consumer.end = group.consumer.stable = 5
    await stand(group, 2 * STANDSTILL)
    assert group.member.held_back is None


async def test_a_partition_that_moves_is_left_alone(group: Group) -> None:
    reading(group).consumer.end = group.consumer.stable = 9
    for position in (6, 7, 8):
        await stand(group, STANDSTILL - 5)
        group.consumer.seek(A, position)


async def test_records_hidden_by_an_open_transaction_are_told_of(group: Group) -> None:
    reading(group).consumer.end = 9
    group.consumer.stable = 5
    await stand(group, STANDSTILL + 5)
    assert group.member.held_back is not None
    assert "open transaction" in group.member.held_back
    group.consumer.seek(A, 9)
    await stand(group, 1)
    assert group.member.held_back is None


async def test_a_paused_partition_may_stand(group: Group) -> None:
    reading(group).consumer.end = group.consumer.stable = 9
    group.member.pause([A])
    await stand(group, 2 * STANDSTILL)
