"""What the image installs is what the tests ran with."""

import re
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[2] / "requirements"


def pins(name: str) -> dict[str, str]:
    """Package and version, with the marker where there is one."""
    text = (REQUIREMENTS / f"{name}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)(==\S+)", text, re.MULTILINE))


def test_the_image_has_the_versions_that_were_tested() -> None:
    shipped, tested = pins("run"), pins("dev")
    assert "aiokafka" in shipped
    assert {name: tested.get(name) for name in shipped} == shipped
    assert {name: pins("demo").get(name) for name in shipped} == shipped


def test_every_package_of_a_lock_has_hashes_and_no_address() -> None:
    for lock in REQUIREMENTS.glob("*.lock"):
        text = lock.read_text()
        assert "://" not in text, lock.name
        for package in re.split(r"\n(?=\S)", text.strip()):
            assert "--hash=sha256:" in package, f"{lock.name}: {package.splitlines()[0]}"
