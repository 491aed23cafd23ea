from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.models import KafkaSettings
from bridge.kafka.client import BATCH_BYTES, KafkaClient, end_producer
from bridge.kafka.producer import RECORD_BYTES, Record, _in_turn

HEADERS = st.lists(st.tuples(st.text(max_size=50), st.binary(max_size=300)), max_size=20)
FIELD = st.none() | st.binary(max_size=3_000)
EMPTY_BATCH = 61  # bytes before the first record, in the batch format of Kafka 0.11 and later


@given(key=FIELD, value=FIELD, headers=HEADERS)
async def test_a_record_is_never_larger_than_its_size_says(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    producer = KafkaClient(KafkaSettings(bootstrap_servers="127.0.0.1:1")).producer(None)
    batch = producer.create_batch()
    batch.append(timestamp=2**41, key=key, value=value, headers=headers)
    size = Record("topic", 0, key, value, tuple(headers)).size
    assert batch.size() - EMPTY_BATCH <= size
    assert size + EMPTY_BATCH <= BATCH_BYTES or size > RECORD_BYTES
    await end_producer(producer, discard=True)


def test_batches_take_turns_so_that_no_partition_waits_for_another() -> None:
    a, b = TopicPartition("a", 0), TopicPartition("b", 0)
    assert list(_in_turn({a: [1, 2, 3], b: [4]})) == [(a, 1), (b, 4), (a, 2), (a, 3)]
    assert list(_in_turn({})) == []
