"""A project of a test's own: matrix, client image and target registry, built by the real command line."""

from __future__ import annotations

import hashlib
import io
import json
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from bench.without_boot import without_boot
from kmatrix import cli
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.values.lock import ProfileLock, read_lock
from kmatrix.values.names import image_tag
from tests.integration.support.lab import Lab
from tests.integration.support.project.build_cache import has_image, keeping_stages, stage_tag
from tests.integration.support.project.signing_keys import write_signing_keys
from tests.integration.support.registries import ThrowAwayRegistry
from tests.integration.support.session import LABEL, Session

PROFILE = "site"
NEWER_CLIENT = "8.98.1"
OLDER_CLIENT = "7.98.1"
# Two at a time everywhere: make's number of jobs follows from it, and the engine's cache depends on that.
JOBS = "2"
SIDE_BY_SIDE = ("build", "verify", "push", "bundle", "watch")
GATED = ("build", "verify", "push", "report")
_COUNTERS = re.compile(r"builds: (\d+), pulls: (\d+)")
_COMPILE = re.compile(r'RUN \["/kmatrix/build-module"[^\n]*\]\n')
_SHARED_STAGES = re.compile(r"^FROM .* AS (?!base).*\n", re.MULTILINE)
_LAST_STAGE = "FROM userland\n"
_BEFORE_COMPILE = "# MAKE_JOBS changes how fast"


@dataclass(frozen=True)
class Run:
    """A command that ran: its exit code, its outputs, and build/results.json after it."""

    code: int
    stderr: str
    stdout: str
    results: dict[str, Any]

    def cell(self, name: str) -> dict[str, Any]:
        """Return the result of one cell, with its features in place of their name."""
        found: dict[str, Any] = next(cell for cell in self.results["cells"] if cell["cell"] == name)
        return {**found, "features": self.results["feature_sets"].get(found["features"])}

    @property
    def verdicts(self) -> dict[str, str]:
        """Verdict by cell."""
        return {cell["cell"]: cell["verdict"] for cell in self.results.get("cells", ())}

    @property
    def builds(self) -> int:
        """The number of builds that the engine was told to do."""
        return self._counted(1)

    @property
    def pulls(self) -> int:
        """The number of pulls that the engine was told to do."""
        return self._counted(2)

    def _counted(self, group: int) -> int:
        match = _COUNTERS.search(self.stderr)
        assert match, f"no counters in: {self.stderr}"
        return int(match[group])


class Site:
    """A project folder with profile `site`: the lab's releases and packages, a target of its own."""

    def __init__(self, root: Path, lab: Lab, session: Session, registry: ThrowAwayRegistry) -> None:
        self.root = root
        self.lab = lab
        self.session = session
        self.registry = registry
        self.path = f"site-{secrets.token_hex(6)}"
        self.image_source = root / "images" / "beegfs-client"

    @classmethod
    @contextmanager
    def made(
        cls,
        root: Path,
        lab: Lab,
        session: Session,
        registry: ThrowAwayRegistry,
        *,
        clients: Iterable[str] = (NEWER_CLIENT,),
        kernels: Iterable[str] = (),
        warm: bool = True,
        own_packages: Iterable[str] = (),
        signed: Collection[str] = (),
        **profile: Any,
    ) -> Iterator[Site]:
        """Create a project, resolved and ready to build; its images are removed at the end.

        Args:
            root: its folder, created if need be.
            lab: it builds from this lab.
            session: labels its images.
            registry: it publishes there.
            clients: client versions.
            kernels: kernel releases; none means all of the lab's.
            warm: compile these cells beforehand, from the lab's packages, into the engine's cache.
            own_packages: client versions whose packages are this project's own, not the lab's.
            signed: what it signs, with keys of its own in its folder `keys`: nothing by default; IMAGES, MODULES, or
                both, which is SIGNED (support/project/signing_keys.py).
            profile: keys of the profile to set, such as packages or excludes.
        """
        site = cls(root, lab, session, registry)
        kernels = tuple(kernels) or tuple(lab.kernels.as_dict().values())
        site._write(tuple(clients), kernels, {**write_signing_keys(root, signed), **profile})
        site._label_stages(tuple(own_packages))
        if warm:
            warm_up(lab, session, registry, clients, kernels, **profile)
        found = site.run("discover")
        assert found.code == 0, found.stderr
        try:
            yield site
        finally:
            site.forget()

    @property
    def target(self) -> str:
        """Its target: registry and path."""
        return f"{self.registry.address}/{self.path}"

    @property
    def repository(self) -> str:
        """The repository of its images in the registry."""
        return f"{self.path}/beegfs-client"

    @property
    def tags(self) -> set[str]:
        """The tags that it has published."""
        return self.registry.tags(self.repository)

    @property
    def pins(self) -> ProfileLock:
        """Its pins."""
        return read_lock((self.root / "matrix.lock").read_text(encoding="utf-8"), "matrix.lock").profiles[PROFILE]

    def run(self, *arguments: str, boot: bool = False) -> Run:
        """Run a command of the tool in this process, with a list of gates that lacks those that boot unless `boot`.

        A boot takes its time, and most tests show something else. Bundles are composed only of cells that have passed
        every gate, so `bundle` always has the complete list.
        """
        stderr, stdout = io.StringIO(), io.StringIO()
        jobs = ("--jobs", JOBS) if arguments[0] in SIDE_BY_SIDE and "--jobs" not in arguments else ()
        with redirect_stderr(stderr), redirect_stdout(stdout):
            gates = nullcontext() if boot or arguments[0] not in GATED else without_boot()
            with gates:
                code = cli.main([*arguments, *jobs, "--root", str(self.root)])
        self.note_steps()
        return Run(code, stderr.getvalue(), stdout.getvalue(), self.results())

    def results(self) -> dict[str, Any]:
        """Return build/results.json as it is now."""
        path = self.root / "build" / "results.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def tag_of(self, cell: str) -> str:
        """Return the tag of a cell."""
        return image_tag(cell)

    def planned(self) -> list[str]:
        """Return the ids of its cells, in the plan's order."""
        return [cell["cell"] for cell in json.loads(self.run("plan", "--json").stdout)["cells"]]

    def change_profile(self, **profile: Any) -> None:
        """Set keys of the profile in matrix.yaml."""
        path = self.root / "matrix.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        content["profiles"][PROFILE].update(profile)
        path.write_text(yaml.safe_dump(content), encoding="utf-8")

    def alter(self, name: str, old: str, new: str) -> None:
        """Replace a part of a file of this project's client image."""
        path = self.image_source / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def sabotage(self, kernel: str, commands: str, files: dict[str, bytes] | None = None) -> None:
        """Damage one kernel's module after the compile; the stages before it come from the engine's cache.

        Args:
            kernel: the module's kernel; a bash pattern.
            commands: for bash; $1 is the kernel, $ko the module, $tree its kernel's folder, $files where `files` are.
            files: content by name.
        """
        script = (
            f"#!/bin/bash\nset -euo pipefail\n[[ $1 == {kernel} ]] || exit 0\nfiles=/kmatrix/sabotage.d\n"
            f"tree=/module/opt/lib/modules/$1\nko=$tree/extra/beegfs.ko\n{commands}\n"
        )
        folder = self.image_source / "sabotage.d"
        folder.mkdir()
        (folder / "sabotage").write_text(script, encoding="utf-8")
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        template = (self.image_source / "Dockerfile.j2").read_text(encoding="utf-8")
        compiling = _COMPILE.search(template)
        assert compiling, "the template has no compile"
        step = (
            f"{self._label}\nCOPY sabotage.d /kmatrix/sabotage.d/\n"
            'RUN ["/kmatrix/sabotage.d/sabotage", "{{ cell.kernel }}"]\n'
        )
        self.alter("Dockerfile.j2", compiling[0], compiling[0] + step)

    def change_toolkit(self, kernel: str, commands: str) -> None:
        """Change the toolkit that one kernel's module is compiled with; the image that the checks read stays.

        Args:
            kernel: the cell's kernel.
            commands: for bash, run before the compile; $headers is the kernel's include/linux.
        """
        script = (
            "#!/bin/bash\nset -euo pipefail\n"
            f"for headers in /lib/modules/{kernel}/source /lib/modules/{kernel}/build /usr/src/kernels/{kernel}; do\n"
            f'  headers+=/include/linux\n  [ ! -f "$headers/fs.h" ] || break\ndone\n{commands}\n'
        )
        folder = self.image_source / "toolkit.d"
        folder.mkdir()
        (folder / "change").write_text(script, encoding="utf-8")
        step = (
            f'{{% if cell.kernel == "{kernel}" %}}{self._label}\nCOPY toolkit.d /kmatrix/toolkit.d/\n'
            'RUN ["/kmatrix/toolkit.d/change"]\n{% endif %}'
        )
        self.alter("Dockerfile.j2", _BEFORE_COMPILE, step + _BEFORE_COMPILE)

    def note_steps(self) -> None:
        """Note the images that this project's logs name, for the check that none is left."""
        for log in (self.root / "build" / "logs" / PROFILE).glob("*.log"):
            if log.is_file():
                self.session.note_builds(log.read_text(encoding="utf-8"))

    def forget(self) -> None:
        """Remove every image that has a name of this project."""
        self.note_steps()
        client = docker.from_env()
        try:
            for image in client.images.list(name=f"{self.target}/beegfs-client"):
                for name in [*image.tags, *image.attrs["RepoDigests"]]:
                    # With the last tag of a repository its digests are removed, too.
                    if name.startswith(self.target) and has_image(client, name):
                        client.images.remove(name)
        finally:
            client.close()

    def _write(self, clients: tuple[str, ...], kernels: tuple[str, ...], profile: dict[str, Any]) -> None:
        unwanted = sorted(set(self.lab.kernels.as_dict().values()) - set(kernels))
        stated = {
            **self.lab.stated(),
            "about": "a site of a test",
            "target": self.target,
            "lock": "matrix.lock",
            "clients": list(clients),
            "excludes": [{"kernel": kernel, "reason": "not of this test"} for kernel in unwanted],
            **profile,
        }
        self.root.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump({"schema": 1, "default_profile": PROFILE, "profiles": {PROFILE: stated}})
        (self.root / "matrix.yaml").write_text(text, encoding="utf-8")
        shutil.copytree(self.lab.root / "images" / "beegfs-client", self.image_source)
        shutil.copytree(self.lab.root / "deploy", self.root / "deploy")

    @property
    def _label(self) -> str:
        return f"LABEL {LABEL}={self.session.name} {LABEL}.site={self.path}"

    def _label_stages(self, own_packages: tuple[str, ...]) -> None:
        """Keep tests that run side by side from sharing, and removing, each other's images.

        Where the packages are the lab's, the session keeps all stages but the last, and tests may share them. A label
        adds no layer, so the tested image stays the same.
        """
        self.alter("Dockerfile.j2", _LAST_STAGE, f"{_LAST_STAGE}{self._label}\n")
        template = (self.image_source / "Dockerfile.j2").read_text(encoding="utf-8")
        for stage in _SHARED_STAGES.findall(template):
            own = f"not in_cluster and cell.client | string in {list(own_packages)}"
            label = f"{{% if {own} %}}{self._label}{{% endif %}}\n"
            self.alter("Dockerfile.j2", stage, stage + label)


SiteMaker = Callable[..., Site]


# Keys of a profile that change stages.
_OF_STAGES = ("base", "rdma")


def warm_up(
    lab: Lab,
    session: Session,
    registry: ThrowAwayRegistry,
    clients: Iterable[str],
    kernels: Iterable[str],
    **profile: Any,
) -> None:
    """Compile cells once for the session: tagged stages stay in the engine, and its cache answers every later build."""
    stated = {key: profile[key] for key in _OF_STAGES if key in profile}
    variant = f"{hashlib.sha256(json.dumps(stated).encode()).hexdigest()[:8]}-" if stated else ""
    client = docker.from_env()
    try:
        with session.locked("warm"):
            wanted = [(version, kernel) for version in clients for kernel in kernels]
            names = {cell: f"{session.warm}:{stage_tag('module', *cell, variant)}" for cell in wanted}
            missing = [cell for cell, name in names.items() if not has_image(client, name)]
            if not missing:
                return
            everything = {"clients": sorted({c for c, _ in missing}), "kernels": sorted({k for _, k in missing})}
            root = session.folder / f"warm-{secrets.token_hex(4)}"
            with (
                Site.made(root, lab, session, registry, warm=False, **everything, **stated) as site,
                pytest.MonkeyPatch.context() as patch,
            ):
                patch.setattr(DockerEngine, "build", keeping_stages(client, session, variant))
                only = [word for version, kernel in missing for word in ("--only", f"{version}-{kernel}")]
                done = site.run("build", "--no-push", *only)
                assert done.code == 0, done.stderr
    finally:
        client.close()
