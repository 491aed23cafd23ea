"""A Kafka that fails on demand: librdkafka's mock cluster, in this process.

The confluent-kafka wheel contains librdkafka, and librdkafka a server side for its own tests. It
speaks the protocol on a real port, and a script says which request fails how. It does not fence.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka

PRODUCE, FETCH, INIT_PRODUCER_ID, ADD_PARTITIONS, END_TXN = 0, 1, 22, 24, 26
CONNECTION_CUT = -195  # RD_KAFKA_RESP_ERR__TRANSPORT: the mock carries out nothing and hangs up
MESSAGE_TOO_LARGE = 10
NOT_ENOUGH_REPLICAS = 19


class MockKafka:
    """One broker of the mock cluster."""

    def __init__(self, library: ctypes.CDLL, cluster: ctypes.c_void_p) -> None:
        self._library = library
        self._cluster = cluster
        self.address = library.rd_kafka_mock_cluster_bootstraps(cluster).decode()

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic."""
        error = self._library.rd_kafka_mock_topic_create(
            self._cluster, name.encode(), partitions, 1
        )
        if error:
            raise AssertionError(f"the mock cluster did not create {name}: {error}")

    def fail(self, request: int, *errors: int) -> None:
        """Answer the next requests of this kind with these errors."""
        codes = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, request, len(errors), codes
        )

    def lose_answer(self, request: int) -> None:
        """Carry out the next request of this kind, and keep its answer back for a minute."""
        self._library.rd_kafka_mock_broker_push_request_error_rtts(
            self._cluster, 1, request, ctypes.c_size_t(1), ctypes.c_int(0), ctypes.c_int(60_000)
        )

    def down(self) -> None:
        """Close all connections and take no new ones."""
        self._library.rd_kafka_mock_broker_set_down(self._cluster, 1)

    def up(self) -> None:
        """Take connections again."""
        self._library.rd_kafka_mock_broker_set_up(self._cluster, 1)


@contextmanager
def mock_kafka() -> Iterator[MockKafka]:
    """Run a mock cluster of one broker."""
    library = _library()
    text = ctypes.create_string_buffer(512)
    handle = library.rd_kafka_new(0, library.rd_kafka_conf_new(), text, len(text))
    cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(handle, 1))
    try:
        yield MockKafka(library, cluster)
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(ctypes.c_void_p(handle))


def _library() -> ctypes.CDLL:
    package = Path(confluent_kafka.__file__).parent
    files = [
        *package.with_name("confluent_kafka.libs").glob("librdkafka*"),  # Linux
        *package.glob(".dylibs/librdkafka*"),  # macOS
    ]
    library = ctypes.CDLL(str(files[0]))
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, number]),
        ("rd_kafka_mock_cluster_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
        (
            "rd_kafka_mock_push_request_errors_array",
            None,
            [pointer, ctypes.c_int16, ctypes.c_size_t, pointer],
        ),
        ("rd_kafka_mock_broker_set_down", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_up", number, [pointer, ctypes.c_int32]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
