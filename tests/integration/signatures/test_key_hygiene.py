"""No private key and no password is left anywhere by a run that signs, nor shown to a program that has no use for it.

Each search is proved by something that is no secret and must be found in the same place: the module's certificate, and
a variable of the run's environment. tests/unit/test_secret_search.py plants keys in every form.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.signing.key_files import (
    IMAGE_KEY,
    IMAGE_PUBLIC_KEY,
    MODULE_CERTIFICATE_DER,
    MODULE_KEY,
    write_key_files,
)
from kmatrix.effects.signing.new_keys import new_image_key
from tests.integration.support.hygiene.recorded_run import WITHOUT_BOOT
from tests.integration.support.hygiene.secret_search import (
    Forms,
    forms_of_data,
    forms_of_key,
    forms_of_text,
    found_below,
    found_in,
)
from tests.integration.support.hygiene.watched import Sightings, as_data, watched_containers, watched_processes
from tests.integration.support.lab import Lab
from tests.integration.support.project.signing_keys import FOLDER, IMAGES, MODULES, write_signing_keys
from tests.integration.support.project.site import JOBS, NEWER_CLIENT, Site
from tests.integration.support.registries import ThrowAwayRegistry, throw_away_registry
from tests.integration.support.session import Session

ROOT = Path(__file__).resolve().parents[3]
VARIABLES = {
    "image_signing.key": "KMATRIX_IMAGE_KEY",
    "image_signing.next_key": "KMATRIX_IMAGE_KEY_NEXT",
    "module_signing.key": "KMATRIX_MODULE_KEY",
}
NEXT = f"{FOLDER}/next"
MARKER, CERTIFICATE = "marker", "certificate"


@dataclass(frozen=True)
class Evidence:
    """What signed runs left, and what was seen of them.

    Attributes:
        site: the project.
        secrets: the forms of keys and passwords.
        public: the forms of the certificate and of the marker.
        environment: of the runs, with keys and passwords.
        output: everything that the commands printed.
        engine: the folder of what the container engine was given and built.
        containers: what the engine told of every container meanwhile.
        processes: what was seen of processes.
        registry: the registry's storage, as a tar archive.
    """

    site: Site
    secrets: Forms
    public: Forms
    environment: Mapping[str, str]
    output: str
    engine: Path
    containers: list[dict[str, Any]]
    processes: Sightings
    registry: bytes

    @property
    def private_files(self) -> list[Path]:
        """The files that have the keys."""
        names = f"{FOLDER}/{IMAGE_KEY}", f"{NEXT}/{IMAGE_KEY}", f"{FOLDER}/{MODULE_KEY}"
        return [self.site.root / name for name in names]


def command(site: Site, engine: Path, *arguments: str) -> list[str]:
    driver = [sys.executable, "-m", "tests.integration.support.hygiene.recorded_run", str(engine)]
    return [*driver, *arguments, "--root", str(site.root)]


def environment_of(passwords: Mapping[str, str], keys: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("KMATRIX_")}
    path = os.pathsep.join((str(ROOT / "scripts"), str(ROOT)))
    named = {f"{VARIABLES[key]}_PASSWORD": password for key, password in passwords.items()}
    return {**own, "PYTHONPATH": path, **named, **keys}


def storage_of(registry: ThrowAwayRegistry) -> bytes:
    stream, _ = registry.container.get_wrapped_container().get_archive("/var/lib/registry")
    return b"".join(stream)


def write_all_keys(root: Path, passwords: Mapping[str, str]) -> dict[str, Any]:
    """Write both image keys, of which one replaces the other, and the module key; return the keys of the profile."""
    stated = write_signing_keys(root, (IMAGES,), passwords["image_signing.key"])
    write_key_files(root / NEXT, new_image_key(passwords["image_signing.next_key"]))
    stated["image_signing"]["next_key"] = f"file:{NEXT}/{IMAGE_KEY}"
    stated["image_signing"]["public_keys"].append(f"{NEXT}/{IMAGE_PUBLIC_KEY}")
    return stated | write_signing_keys(root, (MODULES,), passwords["module_signing.key"])


@pytest.fixture(scope="module", params=["env", "file"])
def evidence(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, lab: Lab, session: Session
) -> Iterator[Evidence]:
    """A signed cell: with keys in the environment also its bundle, both booted; with keys in files built alone."""
    in_environment = request.param == "env"
    kernel = lab.kernels.newer
    passwords = {key: f"pass {secrets.token_hex(12)}" for key in VARIABLES}
    marker = secrets.token_hex(16)
    folder = tmp_path_factory.mktemp("hygiene")
    with ExitStack() as stack:
        registry = stack.enter_context(throw_away_registry(lab, session))
        root = folder / "site"
        site = stack.enter_context(Site.made(root, lab, session, registry, clients=[NEWER_CLIENT], kernels=[kernel]))
        stated = write_all_keys(root, passwords)
        pems: dict[str, bytes] = {}
        keys: dict[str, str] = {}
        for key, variable in VARIABLES.items():
            section, _, member = key.partition(".")
            pems[key] = (root / stated[section][member].removeprefix("file:")).read_bytes()
            if in_environment:
                stated[section][member] = f"env:{variable}"
                keys[variable] = pems[key].decode()
        site.change_profile(**stated)
        found: dict[str, frozenset[bytes]] = {}
        for key, password in passwords.items():
            found |= forms_of_key(key, pems[key], password)
            found |= forms_of_text(f"password of {key}", password)
        certificate = (root / FOLDER / MODULE_CERTIFICATE_DER).read_bytes()
        public = {**forms_of_data(CERTIFICATE, certificate), **forms_of_text(MARKER, marker)}
        environment = environment_of(passwords, {**keys, "HYGIENE_MARKER": marker})
        commands = (
            [("build", "--jobs", JOBS), ("bundle", "--jobs", JOBS), ("manifests",)]
            if in_environment
            else [(WITHOUT_BOOT, "build", "--jobs", JOBS)]
        )
        output, programs, sightings = "", set[str](), set[tuple[str, str, str]]()
        with watched_containers() as containers:
            for arguments in commands:
                done, seen = run_watched(command(site, folder / "engine", *arguments), environment, {**found, **public})
                output += done.stdout
                programs |= seen.programs
                sightings |= seen.found
                assert done.returncode == 0, done.stdout
        yield Evidence(
            site,
            found,
            public,
            environment,
            output,
            folder / "engine",
            containers,
            Sightings(programs, sightings),
            storage_of(registry),
        )


def run_watched(
    arguments: list[str], environment: Mapping[str, str], forms: Forms
) -> tuple[subprocess.CompletedProcess[str], Sightings]:
    """Run a command to its end, and return how it ended with what was seen of processes meanwhile."""
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(
            arguments, cwd=ROOT, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
        ) as process,
        watched_processes(forms, frozenset({process.pid})) as seen,
    ):
        output, _ = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, output, ""), seen


def of_secrets(evidence: Evidence) -> set[tuple[str, str, str]]:
    return {each for each in evidence.processes.found if each[2] in evidence.secrets}


def test_no_other_process_has_a_key_in_its_command_line_or_environment(evidence: Evidence) -> None:
    assert of_secrets(evidence) == set()
    marked = {program for program, place, name in evidence.processes.found if (place, name) == ("environ", MARKER)}
    if "KMATRIX_IMAGE_KEY" in evidence.environment:
        assert any(program.startswith("qemu-system") for program in marked), "the environment of QEMU was looked at"


def test_no_container_is_told_a_key(evidence: Evidence) -> None:
    told = as_data(evidence.containers)
    assert b"sign-module" in told, "the container that signs was looked at"
    assert found_in(told, evidence.secrets) == set()


def test_no_build_context_and_no_argument_of_a_build_has_a_key(evidence: Evidence) -> None:
    names = [path.name for path in evidence.engine.iterdir()]
    for kind in ("-context.tar", "-options.json", "-archive.tar", "-image.tar"):
        assert any(name.endswith(kind) for name in names), f"no {kind} was recorded"
    assert found_below(evidence.engine, evidence.secrets) == {}
    found = found_below(evidence.engine, {CERTIFICATE: evidence.public[CERTIFICATE]})
    with_certificate = {name.partition("-")[2] for name in found}
    assert {"context.tar", "image.tar"} <= with_certificate, "the certificate is in context and image, and is found"


def test_the_registry_has_no_key(evidence: Evidence) -> None:
    assert found_in(evidence.registry, evidence.secrets) == set()
    found = found_in(evidence.registry, {CERTIFICATE: evidence.public[CERTIFICATE]})
    assert found == {CERTIFICATE}, "the certificate is in a layer, and is found"


def test_nothing_that_is_printed_or_written_has_a_key(evidence: Evidence) -> None:
    assert found_in(evidence.output.encode(), evidence.secrets) == set()
    root = evidence.site.root
    found = found_below(root, evidence.secrets)
    assert set(found) == {path.relative_to(root).as_posix() for path in evidence.private_files}, "found in keys alone"
    logs = [*(root / "build" / "logs").rglob("*.log")]
    assert logs
    assert (root / "build" / "results.json").is_file()


@pytest.mark.parametrize("key", VARIABLES)
def test_a_wrong_password_is_refused_without_a_word_of_it_or_of_the_key(evidence: Evidence, key: str) -> None:
    wrong = f"wrong {secrets.token_hex(12)}"
    environment = {**evidence.environment, f"{VARIABLES[key]}_PASSWORD": wrong}
    arguments = command(evidence.site, evidence.engine, "build", "--force")
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert f"{VARIABLES[key]}_PASSWORD" in done.stderr
    said = (done.stdout + done.stderr).encode()
    assert found_in(said, {**evidence.secrets, **forms_of_text("wrong password", wrong)}) == set()
