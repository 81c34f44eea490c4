"""Signing a module between the stages of its build: what the engine gets, and what it never does."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kmatrix.effects.engine.archives import regular_files
from kmatrix.effects.engine.build_context import pack_context
from kmatrix.effects.signing.module_keys import ModuleSigner
from kmatrix.stages.module_signing import signed_context
from kmatrix.values.engine import RunOutput
from kmatrix.values.errors import ToolError
from kmatrix.values.module import certificate_path, module_path
from tests.unit.support.made_up_profile import profile, recipes
from tests.unit.support.module_keys import module_key
from tests.unit.support.stand_in_engine import StandInEngine

OURS = module_key("ours")
SIGNER = ModuleSigner(OURS.pem, OURS.der)
RECIPE = replace(next(iter(recipes(profile()).values())), certificate=OURS.der)
KERNEL = RECIPE.cell.kernel
MODULE, TAIL = b"a module", b"its signature"
CONTEXT = pack_context("FROM scratch\n", {"package-key": b"key"})


class SigningEngine(StandInEngine):
    """Has the built stage `module`, and a toolkit whose sign-file appends TAIL; notes all that it is given."""

    def __init__(self, output: RunOutput | None = None, signed: bytes | None = MODULE + TAIL) -> None:
        super().__init__()
        self.output = output or RunOutput(0, "", "")
        self.signed = signed
        self.created: list[tuple[str, Sequence[str], dict[str, Any]]] = []
        self.put: list[bytes] = []
        self.inputs: list[bytes] = []

    @contextmanager
    def container(self, image: str, command: Sequence[str] = (), **options: Any) -> Iterator[str]:
        self.created.append((image, command, options))
        yield image

    def take_archive(self, container: str, path: str) -> bytes:
        assert (container, path) == ("built", "/module")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member = tarfile.TarInfo(f"module{module_path(KERNEL)}")
            member.size = len(MODULE)
            archive.addfile(member, io.BytesIO(MODULE))
        return buffer.getvalue()

    def read_file(self, container: str, path: str) -> bytes | None:
        return MODULE if container == "built" else self.signed

    def put_archive(self, container: str, folder: str, archive: bytes) -> None:
        self.put.append(archive)

    def run(self, container: str, timeout_seconds: int = 120, stdin: bytes = b"") -> RunOutput:
        self.inputs.append(stdin)
        return self.output


def sign(engine: SigningEngine, signer: ModuleSigner | None = SIGNER) -> bytes:
    cell: Any = SimpleNamespace(run=SimpleNamespace(engine=engine, module_signer=signer), recipe=RECIPE)
    return signed_context(cell, CONTEXT, "built")


def test_the_context_gets_the_signed_module_and_its_certificate() -> None:
    assert regular_files(sign(SigningEngine())) == {
        "Dockerfile": b"FROM scratch\n",
        "package-key": b"key",
        f"module{module_path(KERNEL)}": MODULE + TAIL,
        f"module{certificate_path(KERNEL)}": OURS.der,
    }


def test_the_module_is_signed_in_the_pristine_toolkit_without_network() -> None:
    """Programs of the image that compiled the client came from its package, and must not see the key."""
    engine = SigningEngine()
    sign(engine)
    image, command, options = engine.created[-1]
    assert image == RECIPE.toolkit.pinned
    assert options == {"stdin": True}
    assert command[-1] == KERNEL
    assert "network" not in options


def test_the_key_comes_by_the_standard_input_alone() -> None:
    engine = SigningEngine()
    context = sign(engine)
    body = OURS.pem.splitlines()[3]
    assert engine.inputs == [OURS.pem]
    assert all(body not in given for given in (*engine.put, context))
    assert body.decode() not in repr(engine.created)


def test_a_program_that_fails_errs_the_cell_with_its_words() -> None:
    engine = SigningEngine(RunOutput(127, "", "sh: 1: sign-file: not found\n"))
    with pytest.raises(ToolError, match="sign-file: not found") as caught:
        sign(engine)
    assert f"/usr/src/kernels/{KERNEL}/scripts/sign-file" in caught.value.hint


@pytest.mark.parametrize("signed", [None, MODULE, b"another module" + TAIL], ids=["none", "unsigned", "changed"])
def test_a_program_that_does_not_append_a_signature_errs_the_cell(signed: bytes | None) -> None:
    with pytest.raises(ToolError, match="did not append a signature"):
        sign(SigningEngine(signed=signed))


@pytest.mark.parametrize("signer", [None, ModuleSigner(b"", b"another certificate")])
def test_a_run_without_the_key_of_the_certificate_signs_nothing(signer: ModuleSigner | None) -> None:
    engine = SigningEngine()
    with pytest.raises(ToolError, match="no key for the certificate"):
        sign(engine, signer)
    assert engine.created == []
