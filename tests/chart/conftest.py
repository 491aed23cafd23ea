"""The programs that the tests of the chart need; what is missing is told."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import helm as helms
from support.brokers import IN_CI
from support.chart import TABLE, Document

from bridge.errors import DependencyAway


@pytest.fixture(scope="session")
def helm() -> Iterator[helms.Helm]:
    """helm, of the version in requirements/helm.lock."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(helms.helm())
        except DependencyAway as reason:
            if IN_CI:
                pytest.fail(f"helm is required where CI=true: {reason}")
            pytest.skip(f"no helm: {reason}")
        yield found


@pytest.fixture(scope="session")
def promtool() -> Iterator[Path]:
    """Prometheus' own judge of rules; it may be missing, as no package index has it."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(helms.promtool())
        except DependencyAway as reason:
            pytest.skip(f"no promtool: {reason}")
        yield found


@pytest.fixture(params=TABLE)
def rendered(request: pytest.FixtureRequest, helm: helms.Helm) -> list[Document]:
    """What the chart makes of each of the values in the table."""
    return helm.template(TABLE[request.param])
