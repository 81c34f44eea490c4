"""scripts/bootstrap without root: it goes on without packages that only tests need, and refuses to without others."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kmatrix.effects.signing.environment import GITHUB_IDENTITY, IDENTITY_TOKEN

ROOT = Path(__file__).parents[2]
# The programs that the script itself runs.
TOOLS = ("bash", "cat", "dirname", "env", "sed", "sha256sum", "tr", "true")


class Machine:
    """A copy of the script with a PATH on which its needs are there, but neither root, nor sudo, nor any wish."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin = folder / "project", folder / "bin"
        (self.root / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        text = (ROOT / "scripts" / "bootstrap").read_text(encoding="utf-8")
        # Files have no PATH to hide them, nor have root's own folders.
        text = re.sub(r"(?m)^  /\S+:\S+\n", "", text).replace("$PATH:/usr/sbin:/sbin", "$PATH")
        needs = text.partition("needs=(")[2].partition(")")[0]
        (self.root / "scripts" / "bootstrap").write_text(text, encoding="utf-8")
        for name in TOOLS:
            found = shutil.which(name)
            assert found, name
            (self.bin / name).symlink_to(found)
        for name in (*re.findall(r"(?m)^  (\S+):", needs), "apt-get", "apt-cache", "python3"):
            self.program(name, "exit 0")
        self.program("id", "echo 1000")
        self.program("given", "echo done")
        made = b""
        for name in ("pyproject.toml", "scripts/constraints.txt"):
            (self.root / name).write_bytes(name.encode())
            made += name.encode()
        (self.root / ".venv" / "bin").mkdir(parents=True)
        (self.root / ".venv" / "bin" / "python").symlink_to(self.bin / "true")
        stamp = f"{self.root} {hashlib.sha256(made).hexdigest()}  -"
        (self.root / ".venv" / ".kmatrix-installed").write_text(stamp, encoding="utf-8")

    def program(self, name: str, does: str) -> None:
        path = self.bin / name
        path.write_text(f"#!{self.bin}/bash\n{does}\n", encoding="utf-8")
        path.chmod(0o755)

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "DOCKER_HOST": "tcp://engine.invalid", "HOME": os.devnull, **more}
        command = [str(self.bin / "bash"), str(self.root / "scripts" / "bootstrap"), *arguments]
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_only_tests_need_is_left_out_without_root(machine: Machine) -> None:
    done = machine.run("true")
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert "without root" in line
    assert "rpm" in line.split()


def test_what_the_product_needs_asks_for_root(machine: Machine) -> None:
    (machine.bin / "git").unlink()
    done = machine.run("true")
    assert (done.returncode, "needs root, and sudo is not installed" in done.stderr) == (2, True), done.stderr


def test_the_command_alone_has_private_keys_and_the_identity_of_a_job(machine: Machine) -> None:
    """The daemon that is started stays, and its environment can be read as long."""
    keys = {f"KMATRIX_{what}_KEY{end}": f"{what}{end}" for what in ("IMAGE", "MODULE") for end in ("", "_PASSWORD")}
    keys |= {IDENTITY_TOKEN: "gitlab", **dict.fromkeys(GITHUB_IDENTITY, "github")}
    report = 'for name in "${!KMATRIX_@}" "${!ACTIONS_ID_TOKEN_@}" "${!SIGSTORE_@}"; do echo "$name=${!name}"; done'
    for name in ("apt-cache", "id"):
        machine.program(name, f"({report}) >>{machine.root}/seen; echo 1000")
    machine.program("given", report)
    done = machine.run("given", **keys, KMATRIX_PROFILE="p")
    assert set(done.stdout.split()) == {*(f"{name}={value}" for name, value in keys.items()), "KMATRIX_PROFILE=p"}
    assert set((machine.root / "seen").read_text(encoding="utf-8").split()) == {"KMATRIX_PROFILE=p"}


def test_the_daemon_that_stays_has_no_credentials_of_key_services(machine: Machine) -> None:
    script, seen = machine.root / "scripts" / "bootstrap", machine.root / "seen"
    text = script.read_text(encoding="utf-8").replace("/run/systemd/system", "/no/systemd")
    script.write_text(text.replace("/var/log/kmatrix-dockerd.log", str(machine.root / "log")), encoding="utf-8")
    services = {"AWS_SECRET_ACCESS_KEY": "aws", "AZURE_CLIENT_SECRET": "azure", "VAULT_TOKEN": "vault"}
    services |= {"IDENTITY_HEADER": "header", "MSI_SECRET": "msi"}
    services |= {"GOOGLE_APPLICATION_CREDENTIALS": "google", "CLOUDSDK_AUTH_ACCESS_TOKEN": "cloud"}
    for name in re.findall(r"(?m)^  (\w+):", text):
        machine.program(name, "exit 0")
    machine.program("id", "echo 0")
    for name in ("sh", "mv"):
        (machine.bin / name).symlink_to(shutil.which(name) or name)
    machine.program("setsid", '"$@"')
    machine.program("dockerd", f"env >'{seen}.part'; mv '{seen}.part' '{seen}'")
    machine.program("curl", f"test -e '{seen}'")
    machine.program("sleep", f"until test -e '{seen}'; do :; done")
    machine.program("given", "env")
    done = machine.run("given", DOCKER_HOST="", **services)
    assert done.returncode == 0, done.stderr
    assert {f"{name}={value}" for name, value in services.items()} <= set(done.stdout.splitlines())
    names = {line.partition("=")[0] for line in seen.read_text(encoding="utf-8").splitlines()}
    assert "HOME" in names
    assert names.isdisjoint(services)


def test_an_option_is_refused_before_anything_is_installed(machine: Machine) -> None:
    (machine.bin / "git").unlink()
    done = machine.run("--force")
    error, step = done.stderr.splitlines()
    assert (done.returncode, error) == (2, "bootstrap: error: there is no option --force.")
    assert "scripts/bootstrap nox -s build" in step


def test_a_machine_that_is_ready_needs_one_line(machine: Machine) -> None:
    for name in re.findall(r"(?m)^  (\S+):", (ROOT / "scripts" / "bootstrap").read_text(encoding="utf-8")):
        if not name.startswith("/"):
            machine.program(name, "exit 0")
    done = machine.run()
    assert (done.returncode, done.stdout) == (0, "")
    ready = "ready. Run ./scripts/bootstrap nox -s build, or put nox on the PATH: . .venv/bin/activate"
    assert done.stderr == f"bootstrap: {ready}\n"


OTHER = "aarch64" if platform.machine() == "x86_64" else "x86_64"


@pytest.fixture(name="other")
def _other(machine: Machine) -> Machine:
    """A machine that has every program for another architecture, and a kernel that knows none of its programs."""
    wishes = re.findall(r"(?m)^  ([a-z_]+):", (ROOT / "scripts" / "bootstrap").read_text(encoding="utf-8"))
    for name in ("qemu-system-aarch64", "qemu-aarch64-static", "qemu-x86_64-static", "arch-test", "newuidmap", *wishes):
        machine.program(name, "exit 0")
    for name in ("mktemp", "mkdir", "rm", "tail", "cat", "sh", "install", "grep"):
        found = shutil.which(name)
        assert found, name
        (machine.bin / name).unlink(missing_ok=True)
        (machine.bin / name).symlink_to(found)
    # Of the packages that it is told to extract, this one has a busybox.
    machine.program("mmdebstrap", f'echo "$@" >{machine.root}/asked; for last; do :; done; echo root >"$last"')
    machine.program("tar", 'mkdir "$2/bin"; echo busybox >"$2/bin/busybox"')
    machine.program("id", "echo 0")
    script = machine.root / "scripts" / "bootstrap"
    text = script.read_text(encoding="utf-8").replace("/usr/lib/busybox-static", str(machine.root / "busybox"))
    text = text.replace("/proc/sys/fs/binfmt_misc", str(machine.root / "binfmt"))
    script.write_text(text.replace("/usr/lib/binfmt.d", str(machine.root / "binfmt.d")), encoding="utf-8")
    for name in ("binfmt", "binfmt.d"):
        (machine.root / name).mkdir()
    (machine.root / "binfmt" / "register").touch()
    (machine.root / "binfmt.d" / f"qemu-{OTHER}.conf").write_text("the form", encoding="utf-8")
    return machine


def test_another_architecture_gets_a_busybox_and_an_emulator_and_then_the_command_runs(other: Machine) -> None:
    done = other.run("--arch", OTHER, "given")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert (other.root / "busybox" / f"busybox-{OTHER}").read_text(encoding="utf-8") == "busybox\n"
    assert f"--arch={'arm64' if OTHER == 'aarch64' else 'amd64'} " in (other.root / "asked").read_text(encoding="utf-8")
    assert (other.root / "binfmt" / "register").read_text(encoding="utf-8") == "the form"
    # A second run has nothing to do.
    (other.root / "asked").unlink()
    (other.root / "binfmt" / f"qemu-{OTHER}").write_text("enabled\nflags: POF\n", encoding="ascii")
    assert other.run("--arch", OTHER, "true").stderr == ""
    assert not (other.root / "asked").exists()


def test_a_user_with_sudo_fetches_the_busybox_as_root(other: Machine) -> None:
    """The program mmdebstrap refuses a user who may not have user namespaces, as on Ubuntu 24.04."""
    other.program("id", "echo 1000")
    other.program("sudo", 'shift; AS_ROOT=yes exec "$@"')
    bootstrapped = (other.bin / "mmdebstrap").read_text(encoding="utf-8").partition("\n")[2]
    other.program("mmdebstrap", f'[ -n "${{AS_ROOT:-}}" ] || exit 1\n{bootstrapped}')
    done = other.run("--arch", OTHER, "given")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert (other.root / "busybox" / f"busybox-{OTHER}").exists()


@pytest.mark.parametrize("text", ["enabled\nflags: PO\n", "disabled\nflags: POF\n"])
def test_an_emulator_that_containers_cannot_use_is_registered_again(other: Machine, text: str) -> None:
    """`lab up --arch` refuses both, and names this script as the next step."""
    registered = other.root / "binfmt" / f"qemu-{OTHER}"
    registered.write_text(text, encoding="ascii")
    done = other.run("--arch", OTHER, "given")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    # Documentation/admin-guide/binfmt-misc.rst: -1 removes an entry.
    assert registered.read_text(encoding="ascii") == "-1\n"
    assert (other.root / "binfmt" / "register").read_text(encoding="utf-8") == "the form"


def test_a_kernel_that_accepts_no_emulator_is_told_and_the_command_runs(other: Machine) -> None:
    (other.root / "binfmt.d" / f"qemu-{OTHER}.conf").unlink()
    done = other.run("--arch", OTHER, "given")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert f"cannot compile, check or boot cells of {OTHER}" in done.stderr


def test_a_busybox_that_cannot_be_fetched_ends_it_and_leaves_nothing(other: Machine) -> None:
    other.program("mmdebstrap", "echo unreachable; exit 1")
    done = other.run("--arch", OTHER, "given")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Check the network" in done.stderr
    assert not (other.root / "busybox").exists()


def test_this_machines_own_architecture_needs_nothing_more(machine: Machine) -> None:
    done = machine.run("--arch", platform.machine(), "given")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("words", [("--arch",), ("--arch", "riscv64")])
def test_an_unknown_architecture_is_refused(machine: Machine, words: tuple[str, ...]) -> None:
    done = machine.run(*words)
    assert done.returncode == 2
    assert "there are x86_64 and aarch64" in done.stderr


@pytest.mark.parametrize(("machine", "installs"), [("x86_64", False), ("aarch64", True)])
def test_the_machine_of_an_architecture_can_boot_its_own_kernels(machine: str, installs: bool) -> None:
    text = (ROOT / "scripts" / "bootstrap").read_text(encoding="utf-8")
    needs = text[text.index("needs=(") : text.index("# The same for those")]
    script = f'HOSTTYPE={machine}\n{needs}\nprintf "%s\\n" "${{needs[@]}}"'
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    assert ("qemu-system-aarch64:qemu-system-arm" in done.stdout.split()) == installs
