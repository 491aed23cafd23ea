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
DESIGN = (ROOT / "docs" / "DESIGN.md").read_text()
PACKAGE = ROOT / "bridge"
DESIGNS = sorted(PACKAGE.rglob("DESIGN.md"))
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *DESIGNS,
]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


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


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_paragraphs_are_short(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("|")]
    assert [line[:60] for line in lines if len(line.split()) >= 90] == []


def test_the_design_is_two_pages_and_shows_every_room() -> None:
    assert len(DESIGN.split()) <= 900
    for room in {path.parent for path in PACKAGE.rglob("__init__.py")}:
        assert f"`{named(room)}/`" in DESIGN


@pytest.mark.parametrize("path", [ROOT / "docs" / "DESIGN.md", *DESIGNS], ids=named)
def test_files_that_a_design_names_are_there(path: Path) -> None:
    files = {str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py")}
    for name in re.findall(r"`([\w/]+\.py)`", path.read_text()):
        assert any(f"/{file}".endswith(f"/{name}") for file in files), name
