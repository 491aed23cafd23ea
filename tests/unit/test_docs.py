"""Documentation that cannot rot: settings, metrics and commands are read from the program."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from bridge import metrics
from bridge.cli import app
from bridge.config.load import describe_settings

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "OPERATIONS.md").read_text()
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("setting", describe_settings(), ids=lambda setting: setting.variable)
def test_each_setting_is_documented_as_it_is(setting: object) -> None:
    row = f"| `{setting.variable}` | {setting.default} | {setting.meaning}"  # type: ignore[attr-defined]
    assert row in OPERATIONS


def test_no_setting_is_documented_that_does_not_exist() -> None:
    known = {setting.variable for setting in describe_settings()}
    named = set(re.findall(r"^\| `((?:BRIDGE|TELNYX)_\w+)` \|", OPERATIONS, re.MULTILINE))
    assert named == known


def test_each_metric_is_documented() -> None:
    for metric in metrics.METRICS.collect():
        name = metric.name + ("_total" if metric.type == "counter" else "")
        assert f"| `{name}` | {metric.type} | {metric.documentation} |" in OPERATIONS


def test_each_command_is_documented() -> None:
    for name in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"`mission-bridge {name}" in OPERATIONS


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
