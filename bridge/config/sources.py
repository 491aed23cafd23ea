"""Where settings come from, and words for what is wrong with them.

Values are gathered leaf by leaf from a TOML file, a folder of secrets and the environment, each
with the place it came from, so that every mistake can name its place. Which settings exist follows
from the models in config_models.py; the one name known here is `sources`, the list of tables.
"""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, SecretStr
from pydantic_core import ErrorDetails

Leaf = tuple[str | int, ...]
"""The way to a value: ("api", "rate"), or ("sources", 0, "name") for one of several tables."""

REQUIRED = "required"
"""Stands for the default where a value must be given."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as documentation lists it; `default` and `type` are words for people."""

    variable: str
    path: tuple[str, ...]
    default: str
    meaning: str
    type: str
    secret: bool

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default == REQUIRED

    @property
    def file_twin(self) -> tuple[str, ...]:
        """The setting that names a file in place of this secret's value."""
        return (*self.path[:-1], f"{self.path[-1]}_file")


class Catalogue:
    """All settings of a tree of models, by variable and by path."""

    def __init__(
        self, prefix: str, leaves: type[BaseModel], branches: Mapping[str, type[BaseModel]]
    ) -> None:
        self.prefix = prefix
        self._branches = {(name,) for name in branches}
        settings = list(_settings(prefix, (), leaves))
        for name, model in branches.items():
            settings += _settings(f"{prefix}{name.upper()}__", (name,), model)
        self.settings = tuple(settings)
        self.by_variable = {setting.variable: setting for setting in settings}
        self._by_path = {setting.path: setting for setting in settings}

    def setting(self, leaf: Leaf) -> Setting | None:
        """Return the setting of a leaf."""
        return self._by_path.get(plain(leaf))

    def is_table(self, leaf: Leaf) -> bool:
        """Tell a table from a value."""
        return not leaf or (plain(leaf) in self._branches and leaf != ("sources",))

    def is_ours(self, name: str) -> bool:
        """Tell whether a variable is meant for the bridge.

        `<prefix>TEST_...` belongs to the tests, which run the bridge in their own environment.
        """
        name = name.upper()
        return name.startswith(self.prefix) and not name.startswith(f"{self.prefix}TEST_")

    def unknown_variable(self, name: str) -> str:
        """Say that there is no such variable, and which one was meant or is near."""
        name = name.upper()
        by_place = self.setting(tuple(name.removeprefix(self.prefix).lower().split("__")))
        return _unknown(by_place.variable if by_place else name, self.by_variable)

    def unknown_leaf(self, leaf: Leaf) -> str:
        """Say that there is no such key in a TOML file, and which one is near."""
        if plain(leaf) in self._branches:
            return "must be a table" if leaf != ("sources",) else "must be tables: [[sources]]"
        known = [".".join(path) for path in (*self._branches, *self._by_path)]
        return _unknown(".".join(plain(leaf)), known)


@dataclass(frozen=True, slots=True)
class SourcedValue:
    """A value and where it came from, in words that a person can follow."""

    value: object = field(repr=False)
    origin: str


class Gathered:
    """Values by leaf, the problems met on the way to them, and which settings these are about."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.values: dict[Leaf, SourcedValue] = {}
        self.problems: list[str] = []
        self.wrong: set[tuple[str, ...]] = set()
        self._catalogue = catalogue

    def take(self, leaf: Leaf, text: str, origin: str) -> None:
        """Keep a text from outside; an empty one is a problem, for it hides what was meant."""
        if text.strip():
            self.values[leaf] = SourcedValue(text.strip(), origin)
        else:
            self.wrong.add(plain(leaf))
            self.problems.append(f"{origin}: is empty; give it a value or remove it")

    def lay_over(self, layer: Gathered) -> None:
        """Let `layer` win; a secret and the file that holds it are one setting."""
        self.problems += layer.problems
        self.wrong |= layer.wrong
        for leaf, found in layer.values.items():
            for twin in self._twins(leaf):
                self.values.pop(twin, None)
                if twin in layer.values and str(leaf[-1]) < str(twin[-1]):
                    other = layer.values[twin].origin
                    self.problems.append(f"{found.origin}: {other} is set as well; keep one")
        self.values.update(layer.values)

    def unite_sources(self) -> None:
        """Turn the single source, however it was given, into the first of `sources`."""
        single = [leaf for leaf in self.values if leaf[0] == "source"]
        several = any(leaf[0] == "sources" for leaf in self.values)
        for leaf in single:
            found = self.values.pop(leaf)
            if several:
                self.problems.append(f"{found.origin}: cannot be set beside the tables [[sources]]")
            else:
                self.values["sources", 0, *leaf[1:]] = found

    def read_secret_files(self) -> None:
        """Put the content of each `..._file` into the secret beside it."""
        for leaf, found in list(self.values.items()):
            secret = (*leaf[:-1], str(leaf[-1]).removesuffix("_file"))
            setting = self._catalogue.setting(secret)
            if secret == leaf or setting is None or not setting.secret:
                continue
            try:
                self.take(secret, read_text(Path(str(found.value))), found.origin)
            except ValueError as error:
                self.wrong.add(plain(secret))
                self.problems.append(f"{found.origin}: {error}")

    def tree(self) -> dict[str, object]:
        """Return the values as nested tables, `sources` as a list of them."""
        root: dict[str, object] = {}
        sources: dict[int, dict[str, object]] = {0: {}}
        for leaf, found in self.values.items():
            match leaf:
                case (str(key),):
                    root[key] = found.value
                case ("sources", int(index), str(key)):
                    sources.setdefault(index, {})[key] = found.value
                case (str(branch), str(key)):
                    table = root.setdefault(branch, {})
                    typing.cast("dict[str, object]", table)[key] = found.value
        root["sources"] = [sources.get(index, {}) for index in range(max(sources) + 1)]
        return root

    def refuse(self, mistakes: Iterable[ErrorDetails]) -> None:
        """Drop the values that pydantic finds mistaken and keep why, without the values."""
        origins = {leaf: found.origin for leaf, found in self.values.items()}
        for mistake in mistakes:
            loc = mistake["loc"]  # may end inside a value, such as at one item of a list
            leaf = next(loc[:end] for end in range(len(loc), 0, -1) if loc[:end] in origins)
            words = mistake["msg"].removeprefix("Value error, ").replace("Input should", "must")
            self.problems.append(f"{origins[leaf]}: {words}")
            self.wrong.add(plain(leaf))
            self.values.pop(leaf, None)

    def _twins(self, leaf: Leaf) -> Iterator[Leaf]:
        name = str(leaf[-1])
        for twin in (f"{name}_file", name.removesuffix("_file")):
            other = (*leaf[:-1], twin)
            if other != leaf and self._catalogue.setting(other) is not None:
                yield other


def from_environment(catalogue: Catalogue, environ: Mapping[str, str]) -> Gathered:
    """Read variables; an unknown one with our prefix is a problem."""
    gathered = Gathered(catalogue)
    for name, value in sorted(environ.items()):
        setting = catalogue.by_variable.get(name)
        if setting is not None:
            gathered.take(setting.path, value, name)
        elif catalogue.is_ours(name):
            gathered.problems.append(f"{name}: {catalogue.unknown_variable(name)}")
    return gathered


def from_secrets(catalogue: Catalogue, folder: Path) -> Gathered:
    """Read a folder with one file per variable, named as the variable in any case.

    A secret's file is kept as its `..._file` twin, so that it can be read anew later. Files with
    other names belong to other programs.
    """
    gathered = Gathered(catalogue)
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        variable = f"{catalogue.prefix}SECRETS_DIR"
        gathered.problems.append(f"{variable}: cannot list {folder}: {error.strerror}")
        return gathered
    for file in files:
        setting = catalogue.by_variable.get(file.name.upper())
        if setting is not None and setting.secret:
            gathered.values[setting.file_twin] = SourcedValue(
                str(file), f"{setting.variable} ({file})"
            )
        elif setting is not None:
            try:
                gathered.take(setting.path, read_text(file), f"{setting.variable} ({file})")
            except ValueError as error:
                gathered.wrong.add(setting.path)
                gathered.problems.append(f"{setting.variable}: {error}")
        elif catalogue.is_ours(file.name):
            gathered.problems.append(f"{file}: {catalogue.unknown_variable(file.name)}")
    return gathered


def from_toml(catalogue: Catalogue, file: Path) -> Gathered:
    """Read a TOML file that has the same tree; an unknown key is a problem."""
    gathered = Gathered(catalogue)
    try:
        tree = tomllib.loads(read_text(file))
    except tomllib.TOMLDecodeError as error:
        gathered.problems.append(f"--config: {file} is not TOML: {error}")
        return gathered
    except ValueError as error:
        gathered.problems.append(f"--config: {error}")
        return gathered
    for leaf, value in _leaves(catalogue, (), tree):
        setting = catalogue.setting(leaf)
        where = f"{dotted(leaf)} in {file}"
        if setting is None:
            gathered.problems.append(f"{where}: {catalogue.unknown_leaf(leaf)}")
        else:
            gathered.values[leaf] = SourcedValue(value, f"{setting.variable} ({where})")
    sources = tree.get("sources")
    for index, table in enumerate(sources if isinstance(sources, list) else ()):
        if isinstance(table, dict) and "name" not in table:
            where = dotted(("sources", index))
            gathered.problems.append(f"{where} in {file}: each of [[sources]] needs its name")
    return gathered


def plain(leaf: Leaf) -> tuple[str, ...]:
    """Return a leaf without positions: ("sources", 1, "name") is ("source", "name")."""
    if leaf[:1] == ("sources",):
        leaf = ("source", *leaf[1:])
    return tuple(part for part in leaf if isinstance(part, str))


def dotted(leaf: Leaf) -> str:
    """Write a leaf as a person finds it in a TOML file, tables counted from one."""
    parts = (f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in leaf)
    return "".join(parts).removeprefix(".")


def read_text(file: Path) -> str:
    """Return a file's text; ValueError says which file cannot be read and why."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"cannot read {file}: it is not UTF-8 text") from error


def _settings(prefix: str, path: tuple[str, ...], model: type[BaseModel]) -> Iterator[Setting]:
    for name, info in model.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        if info.description is None:
            continue  # a branch: its fields are listed by themselves
        key = info.alias or name
        kinds = list(_kinds(info.annotation))
        default = extra.get("default", info.get_default(call_default_factory=True))
        yield Setting(
            variable=str(extra.get("variable", f"{prefix}{key.upper()}")),
            path=(*path, key),
            default=_default_words(default),
            meaning=info.description,
            type=str(extra.get("type") or " or ".join(map(_type_words, kinds))),
            secret=SecretStr in kinds,
        )


def _default_words(default: object) -> str:
    match default:
        case None:
            return "-"
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case _:
            return str(default)


_WORDS = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    Path: "file",
    SecretStr: "secret",
}


def _kinds(annotation: object) -> Iterator[object]:
    """Yield the types that a value may have, without what is said about them."""
    if typing.get_origin(annotation) is typing.Annotated:
        yield from _kinds(typing.get_args(annotation)[0])
    elif typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        for part in typing.get_args(annotation):
            yield from _kinds(part)
    elif annotation is not types.NoneType:
        yield annotation


def _type_words(kind: object) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(map(str, typing.get_args(kind)))
    return _WORDS[typing.cast("type", kind)]


def _leaves(catalogue: Catalogue, leaf: Leaf, value: object) -> Iterator[tuple[Leaf, object]]:
    if isinstance(value, dict) and catalogue.is_table(leaf):
        for key, inner in value.items():
            yield from _leaves(catalogue, (*leaf, key), inner)
    elif isinstance(value, list) and leaf == ("sources",):
        for index, inner in enumerate(value):
            yield from _leaves(catalogue, (*leaf, index), inner)
    else:
        yield leaf, value


def _unknown(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.75)
    return "there is no such setting" + (f"; did you mean {near[0]}?" if near else "")
