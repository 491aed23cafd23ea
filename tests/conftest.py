"""Kafka and a registry for tests: contract and end-to-end tests run on every broker there is.

The embedded broker is always one. A real Apache Kafka is the other: BRIDGE_TEST_KAFKA, a container,
or Java and Maven. Without any, its tests are skipped with the reason, and fail where CI=true.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support import brokers, examples
from support import image as images
from support import kafka as eyes
from support import network as networks

from bridge.config.models import KafkaSettings
from bridge.errors import DependencyAway
from bridge.kafka.client import KafkaClient

_USED: dict[str, str] = {}

settings.register_profile(
    "however slow",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("however slow")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "embedded_lacks(reason): the embedded broker cannot do this: an expected failure there",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        lacks = item.get_closest_marker("embedded_lacks")
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if lacks is not None and parameters.get("kafka") == "embedded":
            item.add_marker(pytest.mark.xfail(reason=lacks.args[0], strict=True))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what this worker used to the process that reports."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["used"] = _USED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker used."""
    _USED.update(getattr(node, "workeroutput", {}).get("used", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for what, description in _USED.items():
        terminalreporter.write_line(f"{what}: {description}")


@pytest.fixture(scope="session", params=["embedded", "real"])
def kafka(request: pytest.FixtureRequest) -> Iterator[brokers.Broker]:
    """A running Kafka, one after the other."""
    with ExitStack() as stack:
        if request.param == "embedded":
            yield stack.enter_context(brokers.embedded())
        else:
            broker = _required("real Kafka", stack, brokers.real())
            _USED["real Kafka"] = broker.description
            yield broker


@pytest.fixture
def kafka_client(kafka: brokers.Broker, topic_prefix: str) -> KafkaClient:
    """Our client for that Kafka."""
    return KafkaClient(
        KafkaSettings(bootstrap_servers=kafka.address, topic_prefix=topic_prefix, session_timeout=6)
    )


@pytest.fixture(scope="session")
def apicurio_url() -> Iterator[str]:
    """A schema registry that nobody here wrote."""
    with ExitStack() as stack:
        url, description = _required("real registry", stack, brokers.registry())
        _USED["real registry"] = description
        yield url


@pytest.fixture(scope="session")
def java_example() -> Iterator[list[str]]:
    """The command that runs the example in Java."""
    with ExitStack() as stack:
        yield _required("Java example", stack, examples.java_example())


@pytest.fixture(scope="session")
def image() -> Iterator[images.Image]:
    """The container image, built from this repository."""
    with ExitStack() as stack:
        if why := os.environ.get("BRIDGE_TEST_NO_IMAGE"):
            _USED["image"] = f"none: {why}"
            pytest.skip(f"no image: {why}")
        made: images.Image = _required("image", stack, images.built())
        _USED["image"] = f"built by buildah, {made.added_mebibytes} MiB beyond its base"
        yield made


@pytest.fixture
def network() -> Iterator[networks.Network]:
    """Two hosts with a router between them."""
    with ExitStack() as stack:
        yield _required("network namespaces", stack, networks.network())


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """First part of the names of this test's topics, groups and transactional ids."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    yield prefix
    if "kafka" in request.fixturenames:
        eyes.delete_topics(request.getfixturevalue("kafka").address, prefix)


def _required(what: str, stack: ExitStack, found: Any) -> Any:
    """Enter `found`; without it skip, or fail in CI."""
    try:
        return stack.enter_context(found)
    except DependencyAway as reason:
        _USED[what] = f"none: {reason}"
        if brokers.IN_CI:
            pytest.fail(f"{what} is required where CI=true: {reason}")
        pytest.skip(f"no {what}: {reason}")
