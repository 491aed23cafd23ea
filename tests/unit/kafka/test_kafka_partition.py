import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.kafka.partition import crc32, murmur2

# From the Java client's own tests (UtilsTest.testMurmur2), as signed 32-bit numbers.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", JAVA)
def test_murmur2_is_the_java_clients(key: bytes) -> None:
    assert murmur2(key, 1_000_003) == (JAVA[key] & 0x7FFFFFFF) % 1_000_003


def test_crc32_is_the_usual_one() -> None:
    assert crc32(b"123456789", 2**32) == 0xCBF43926  # the check value of its definition


@given(st.binary(), st.integers(1, 1000))
def test_partitions_are_within_the_topic(key: bytes, count: int) -> None:
    assert 0 <= murmur2(key, count) < count
    assert 0 <= crc32(key, count) < count
