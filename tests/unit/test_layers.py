"""Imports go downward only; what has one home is used from there alone."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "bridge"

LAYERS: dict[str, int] = {
    "": 0,
    "errors": 0,
    "clock": 0,
    "http_body": 0,
    "printing": 0,
    "metrics": 1,
    "telemetry": 2,
    "health": 3,
    "logs": 3,
    "output": 3,
    "config": 4,
    "missions": 7,
    "kafka": 7,
    "avro": 7,
    "source": 8,
    "commands": 8,
    "ops": 9,
    "startup": 9,
    "supervise": 9,
    "app": 10,
    "dev": 11,
    "cli": 12,
}
"""A module may import what has a smaller number, and its own package."""

FOREIGN = {"httpx": {"missions", "avro"}, "aiokafka": {"kafka"}, "fastavro": {"avro"}}
"""Who may use the libraries of the outer edge; `dev` and types of aiokafka are named below."""

AIOKAFKA_TYPES = {"TopicPartition", "ConsumerRecord"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(module: str) -> str:
    """Return the part of the bridge that a module belongs to: bridge.kafka.client is in kafka."""
    return [*module.split("."), ""][1]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(package: str, name: str) -> bool:
    folder = ROOT.joinpath(*package.split("."))
    return (folder / name).is_dir() or (folder / f"{name}.py").is_file()


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [alias.name for alias in node.names]
            inside = [f"{node.module}.{name}" for name in names if is_module(node.module, name)]
            yield from ((module, []) for module in inside)
            if len(inside) < len(names):
                yield node.module, names


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_downward(path: Path) -> None:
    here = part_of(name_of(path))
    for module, _ in imports(path):
        if module.split(".")[0] != "bridge":
            continue
        there = part_of(module)
        assert there == here or LAYERS[there] < LAYERS[here], f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_the_outer_edge_is_in_one_place(path: Path) -> None:
    here = part_of(name_of(path))
    for module, names in imports(path):
        homes = FOREIGN.get(module.split(".")[0])
        if homes is None or here in homes or here == "dev":
            continue
        only_types = module == "aiokafka" and set(names) <= AIOKAFKA_TYPES
        assert only_types, f"{name_of(path)} imports {module}: {names}"


def test_only_the_configuration_reads_the_environment() -> None:
    readers = {
        name_of(path)
        for path in modules()
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    }
    outside = {name for name in readers if part_of(name) not in {"config", "dev"}}
    assert not outside


def test_there_is_no_import_cycle() -> None:
    graph = {
        name_of(path): {module for module, _ in imports(path) if module.startswith("bridge")}
        for path in modules()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name in done or name not in graph:
            return
        for other in graph[name]:
            visit(other, (*above, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            length = node.end_lineno - node.lineno
            assert length <= 60, f"{node.name} in {name_of(path)} has {length} lines"


def test_folders_are_rooms() -> None:
    for folder in {path.parent for path in modules()}:
        assert len(list(folder.glob("*.py"))) <= 14, folder


def test_no_class_name_is_defined_twice() -> None:
    names = Counter(
        node.name
        for path in modules()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []
