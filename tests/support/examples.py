"""The examples for users, and the libraries that the one in Java needs."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.dev.servers.java_kafka import CACHE, java_tool, maven

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def java_example() -> Iterator[list[str]]:
    """Give the command that runs SendCommand.java, its libraries fetched when not there yet.

    Raises DependencyAway with what is missing.
    """
    java = java_tool("java", "SendCommand.java")
    pom = EXAMPLES / "pom.xml"
    jars = CACHE / f"examples-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if not jars.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as name:
            fetched = Path(name) / "jars"
            goal = ["-f", str(pom), "dependency:copy-dependencies"]
            maven([*goal, f"-DoutputDirectory={fetched}"], "the libraries of SendCommand.java")
            if not jars.exists():  # another process may have been faster
                fetched.rename(jars)
    yield [java, "-cp", f"{jars}/*", str(EXAMPLES / "SendCommand.java")]
