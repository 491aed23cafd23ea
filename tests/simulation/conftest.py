"""The option that replays one seed."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed", type=int, default=None, help="run a simulation with this seed and no other"
    )


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int | None:
    """The seed that was asked for, if any."""
    asked: int | None = request.config.getoption("--seed", default=None)
    return asked
