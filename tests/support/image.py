"""The container image, built and run without a container engine.

Debian's buildah builds it on a base made here by mmdebstrap, under the name that the Dockerfile
asks for: no registry of images is needed. crun runs it as clusters do: read-only root, no
capabilities, no new privileges, the user that the image names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bridge import __version__
from bridge.errors import DependencyAway

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mission-bridge"
TOOLS: Final = ("buildah", "crun", "mmdebstrap", "unshare")
CERTIFICATES: Final = Path("/etc/ssl/certs")
NAME: Final = "mission-bridge:test"
_CAPABILITIES: Final = ("bounding", "effective", "permitted", "inheritable", "ambient")

# crun takes one cgroup hierarchy alone; where the machine has another it gets a view of its own.
_CRUN: Final = """
mount --make-rprivate /
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
exec crun "$@"
"""


@dataclass(frozen=True)
class Image:
    """A built image: its root file system, its base's, and what its configuration says."""

    root: Path
    base: Path
    config: Mapping[str, Any]
    folder: Path

    @property
    def added_mebibytes(self) -> int:
        """What the image takes beyond its base."""
        files = [self.root / path for path in self.added()]
        return sum(file.lstat().st_size for file in files if not file.is_dir()) // 2**20

    def added(self) -> set[str]:
        """Paths below the root that the base does not have."""
        return _paths(self.root) - _paths(self.base)

    def command(self, *arguments: str, entry: Sequence[str] = (), **env: str) -> list[str]:
        """Return what runs the image in a container of its own, on this machine's network.

        `entry` takes the place of the image's entry point. Nothing in the root can be written.
        """
        name = f"mission-bridge-{uuid.uuid4().hex[:10]}"
        bundle = self.folder / name
        bundle.mkdir()
        spec = self._spec([*(entry or self.config["Entrypoint"]), *arguments], env)
        bundle.joinpath("config.json").write_text(json.dumps(spec))
        crun = ["--root", str(self.folder / "crun"), "--cgroup-manager", "disabled"]
        return [*_crun(), *crun, "run", "--bundle", str(bundle), name]

    def run(
        self, *arguments: str, entry: Sequence[str] = (), **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the image to its end."""
        command = self.command(*arguments, entry=entry, **env)
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def _spec(self, arguments: list[str], env: Mapping[str, str]) -> dict[str, Any]:
        user, _, group = self.config["User"].partition(":")
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(self.root), "readonly": True},
            "process": {
                "user": {"uid": int(user), "gid": int(group)},
                "args": arguments,
                "env": [*self.config["Env"], *(f"{name}={value}" for name, value in env.items())],
                "cwd": self.config["WorkingDir"] or "/",
                "noNewPrivileges": True,
                "capabilities": {kind: [] for kind in _CAPABILITIES},
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
        }

    def remove_containers(self) -> None:
        """End whatever still runs."""
        crun = [*_crun(), "--root", str(self.folder / "crun"), "--cgroup-manager", "disabled"]
        for bundle in self.folder.glob("mission-bridge-*"):
            command = [*crun, "delete", "--force", bundle.name]
            subprocess.run(command, capture_output=True, check=False)


@contextmanager
def built() -> Iterator[Image]:
    """Build the image; it is gone at the end. Raises DependencyAway with what is missing."""
    if os.geteuid() != 0:
        raise DependencyAway("building an image without an engine takes root")
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        raise DependencyAway(f"{', '.join(missing)} cannot be found: apt-get install them")
    with tempfile.TemporaryDirectory(prefix="mission-bridge-image-") as name:
        yield from _built(_Buildah(Path(name)))


def _built(buildah: _Buildah) -> Iterator[Image]:
    wanted = re.search(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert wanted, "the Dockerfile names its base"
    scratch = buildah("from", "scratch")
    buildah("add", "--quiet", scratch, str(_base()), "/")
    buildah("commit", "--quiet", scratch, wanted[1])
    buildah(
        "bud",
        "--quiet",
        "--pull=never",
        "--format=docker",  # OCI's own has no health check
        *("--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro") * CERTIFICATES.is_dir(),
        f"--secret=id=pip.conf,src={_pip_settings(buildah.folder)}",
        f"--build-arg=VERSION={__version__}",
        f"--tag={NAME}",
        str(ROOT),
    )
    container = buildah("from", "--pull-never", f"localhost/{NAME}")
    config = json.loads(buildah("inspect", "--type=image", f"localhost/{NAME}"))["Docker"]["config"]
    roots = [Path(buildah("mount", each)) for each in (container, scratch)]
    image = Image(roots[0], roots[1], config, buildah.folder)
    try:
        yield image
    finally:
        image.remove_containers()
        buildah("umount", "--all")
        buildah("rm", "--all")


@dataclass(frozen=True)
class _Buildah:
    """buildah with a store of its own."""

    folder: Path

    def __call__(self, *arguments: str) -> str:
        """Run it and return what it printed."""
        store = [f"--root={self.folder}/store", f"--runroot={self.folder}/run"]
        done = subprocess.run(
            ["buildah", *store, "--storage-driver=vfs", *arguments],
            env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"buildah {arguments[0]}: {done.stdout}\n{done.stderr}"
        return done.stdout.strip()


def _base() -> Path:
    """Return a root file system with Python 3.11 where the official image has it, made once."""
    base = CACHE / "python-3.11-bookworm.tar"
    if not base.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made = base.with_name(f"{uuid.uuid4().hex}.tar")
        link = 'ln -s /usr/bin/python3.11 "$1/usr/local/bin/python"'
        command = ["mmdebstrap", "--variant=minbase", "--include=python3.11-venv,ca-certificates"]
        command += [f"--customize-hook={link}", "bookworm", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            made.unlink(missing_ok=True)
            raise DependencyAway(f"mmdebstrap made no base: {done.stderr.strip()[-300:]}")
        made.rename(base)
    return base


def _pip_settings(folder: Path) -> Path:
    """Write the package index and certificates that pip is set up with here, if any."""
    lines = ["[global]"]
    for name, variable in {"index-url": "PIP_INDEX_URL", "cert": "PIP_CERT"}.items():
        asked = subprocess.run(
            ["python3.11", "-m", "pip", "config", "get", f"global.{name}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if value := os.environ.get(variable) or asked.stdout.strip():
            lines.append(f"{name} = {value}")
    file = folder / "pip.conf"
    file.write_text("\n".join([*lines, ""]))
    return file


def _crun() -> list[str]:
    return ["unshare", "--mount", "sh", "-euc", _CRUN, "crun"]


def _paths(root: Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118 - 20,000 of them
        for folder, folders, files in os.walk(root)
        for name in (*folders, *files)
    }
