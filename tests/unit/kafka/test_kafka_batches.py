"""Whatever a broker may store comes out as records, and costs no more than it may."""

import hashlib
import random
import struct
import tracemalloc
from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException
from support.raw_kafka import CODECS, Raw, batch, record, varint

from bridge.errors import Undecodable
from bridge.kafka.batches import FETCH_BYTES, LARGEST_RECORD, Batches
from bridge.kafka.client import KafkaClient
from bridge.kafka.codecs import LIMIT
from bridge.kafka.consumer import Received

AT = TopicPartition("topic", 0)
GOOD = Raw(b"key", b"value", ((b"name", b"content"), (b"null", None)))
_ = KafkaClient  # whose module puts Batches into aiokafka


def reading(data: bytes, aborted: Sequence[tuple[int, int]] = ()) -> PartitionRecords:
    return PartitionRecords(
        AT,
        Batches(data),
        aborted,
        fetch_offset=0,
        key_deserializer=None,
        value_deserializer=None,
        check_crcs=True,
        isolation_level=1,
    )


def read(data: bytes) -> list[Received]:
    return list(reading(data))


def problem(found: Received) -> tuple[str, bytes]:
    assert isinstance(found.value, Undecodable), found
    return found.value.reason, bytes(found.value)


def several(*batches: Sequence[Raw]) -> bytes:
    """Return batches one behind the other."""
    base, out = 0, b""
    for records in batches:
        out += batch(records, base=base)
        base += len(records)
    return out


@pytest.mark.parametrize("codec", CODECS)
def test_records_are_read_as_they_were_written(codec: str) -> None:
    raw = [GOOD, Raw(), Raw(b"", b""), Raw(None, bytes(100_000)), Raw(b"\xff", b"\0")]
    found = read(batch(raw, codec, base=7))
    assert [(each.key, each.value) for each in found] == [(each.key, each.value) for each in raw]
    assert [each.offset for each in found] == [7, 8, 9, 10, 11]
    assert found[0].headers == (("name", b"content"), ("null", None))
    assert {each.timestamp for each in found} == {1_700_000_000_000}


def test_a_header_name_that_is_no_text_leaves_the_record_as_it_is() -> None:
    odd = Raw(b"k", b"v", ((b"\xff\xfe", b"x"),))
    first, second, third = read(batch([GOOD, odd, GOOD]))
    assert (first.value, third.value) == (b"value", b"value")
    assert (second.key, second.value) == (b"k", b"v")
    ((name, content),) = second.headers
    assert (name.encode(errors="surrogateescape"), content) == (b"\xff\xfe", b"x")


@pytest.mark.parametrize(
    "inside",
    [
        b"",
        b"\0",
        b"\0\0\0" + varint(1_000),
        b"\0\0\0" + varint(-1) + varint(2**40),
        b"\0\0\0\1\1" + varint(2**31),
        b"\0\0\0\1\1" + varint(-5),
        b"\0\0\0\1\1\2" + varint(-3) + b"\1",
        b"\0\0\0\1\1\0 and more",
        b"\0" + b"\xff" * 20,
        b"\0\0" + varint(5) + b"\1\1\0",
        b"\0\0" + varint(-1) + b"\1\1\0",
    ],
    ids=range(11),
)
def test_a_broken_record_stands_alone(inside: bytes) -> None:
    content = record(GOOD, 0) + varint(len(inside)) + inside + record(GOOD, 2)
    found = read(batch(content, count=3) + batch([GOOD], base=3))
    assert (found[0].value, found[-1].value) == (b"value", b"value")
    assert found[-1].offset == 3
    reason, data = problem(found[1])
    assert reason == "unreadable"
    assert found[1].offset == 1
    assert data == inside if inside else len(data) > len(content)


@pytest.mark.parametrize("attributes", [1, 2, 3, 4, 5, 6, 7])
def test_a_batch_that_cannot_be_expanded_is_one_record(attributes: int) -> None:
    wrong = batch([GOOD] * 5, packed=b"no codec wrote this", attributes=attributes)
    letter, behind = read(wrong + batch([GOOD], base=5))
    assert problem(letter) == ("unreadable", wrong)
    assert (letter.offset, letter.key) == (0, None)
    assert (behind.offset, behind.value) == (5, b"value")


@pytest.mark.parametrize("magic", [0, 1, 3, 127])
def test_a_batch_of_another_format_is_one_record(magic: int) -> None:
    wrong = bytearray(batch([GOOD]))
    wrong[16] = magic
    letter, behind = read(bytes(wrong) + batch([GOOD], base=1))
    assert problem(letter) == ("unreadable", bytes(wrong))
    assert behind.value == b"value"


def test_bytes_that_end_too_early_in_a_batch_are_one_record_more() -> None:
    found = read(batch([GOOD, GOOD], count=9) + batch([GOOD], base=9))
    assert [each.offset for each in found] == [0, 1, 2, 9]
    assert problem(found[2])[0] == "unreadable"


def test_random_bytes_in_a_batch_stop_nobody() -> None:
    chance = random.Random(1)
    for _round in range(2_000):
        content = bytearray(batch([GOOD] * 3)[61:])
        for _change in range(chance.randrange(1, 4)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        found = read(batch(bytes(content), count=3) + batch([GOOD], base=3))
        assert (found[-1].offset, found[-1].value) == (3, b"value")


def test_timestamps_may_be_anything() -> None:
    content = record(GOOD, 0, timestamp=2**62) + record(GOOD, 1, timestamp=-(2**62))
    found = read(batch(content, count=2, time=-1))
    assert [each.timestamp for each in found] == [2**62 - 1, -(2**62) - 1]


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_what_expands_to_more_than_fits_costs_no_more_and_is_a_stub(codec: str) -> None:
    size = 4 * LIMIT
    bomb = batch([GOOD, Raw(b"bomb", bytes(size)), GOOD, GOOD], codec)
    read(batch([GOOD], codec))  # what is kept for the next time
    tracemalloc.start()
    records = reading(bomb + batch([GOOD], base=4))
    found = list(records)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * LIMIT
    assert [each.offset for each in found] == [0, 1, 2]
    assert records.next_fetch_offset == 4
    stub, rest = found[1].value, found[2].value
    assert isinstance(stub, Undecodable)
    assert isinstance(rest, Undecodable)
    assert (found[1].key, stub, stub.length, stub.sha256) == (b"bomb", bytes(4096), size, None)
    assert (stub.reason, rest.reason) == ("too_large", "too_large")


def test_snappy_that_claims_more_than_fits_is_not_expanded() -> None:
    bomb = batch([GOOD], packed=varint(2**31)[:5] + b"x", attributes=2)
    (letter,) = read(bomb)
    assert problem(letter)[0] in {"too_large", "unreadable"}


def test_a_record_beyond_kafkas_own_limit_is_a_stub_with_its_digest() -> None:
    value = random.Random(1).randbytes(LARGEST_RECORD)
    (found,) = read(batch([Raw(b"k", value, ((b"h", b""),))], "zstd"))
    stub = found.value
    assert isinstance(stub, Undecodable)
    assert (found.key, stub, stub.length) == (b"k", value[:4096], len(value))
    assert stub.sha256 == hashlib.sha256(value).hexdigest()


def test_an_answer_is_taken_in_parts_when_it_expands() -> None:
    each = [Raw(b"k", bytes(900_000))]
    data = b"".join(batch(each, "zstd", base=base) for base in range(100))
    first = reading(data)
    taken = len(list(first))
    assert FETCH_BYTES / 900_000 <= taken <= FETCH_BYTES / 900_000 + 2
    assert first.next_fetch_offset == taken


def test_good_records_before_a_wrong_checksum_are_delivered_first() -> None:
    broken = bytearray(batch([GOOD], base=2))
    broken[-1] ^= 1
    assert [each.offset for each in read(several([GOOD], [GOOD]) + bytes(broken))] == [0, 1]
    with pytest.raises(CorruptRecordException):
        read(bytes(broken))


def test_markers_of_transactions_and_what_was_aborted_are_passed_over() -> None:
    aborted = batch([GOOD, GOOD], attributes=0x10, producer=77)
    marker = batch([Raw(struct.pack(">hh", 0, 0), b"")], base=2, attributes=0x30, producer=77)
    found = reading(aborted + marker + batch([GOOD], base=3), aborted=[(77, 0)])
    assert [each.offset for each in found] == [3]


def test_a_part_of_a_batch_at_the_end_is_left_for_the_next_answer() -> None:
    whole, part = batch([GOOD]), batch([GOOD], base=1)[:-1]
    batches = Batches(whole + part)
    assert batches.size_in_bytes() == len(whole) + len(part)
    assert [each.offset for each in read(whole + part)] == [0]
    assert not Batches(part).has_next()
    assert Batches(b"").next_batch() is None
