"""A cell image's files are found however an archive writes them."""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Iterator

import pytest

from kmatrix.effects.engine.archives import ChunkReader
from kmatrix.effects.engine.inspect import read_cell_image
from kmatrix.values.engine import EngineImage, RunOutput
from kmatrix.values.errors import ToolError
from tests.unit.support.check_case import IMAGE_DEP, KERNEL, KO, OPT, Case
from tests.unit.support.stand_in_engine import StandInEngine

_MODULE = f"{OPT}/extra/beegfs.ko".lstrip("/")
_DEP = f"{OPT}/modules.dep".lstrip("/")


class ImageEngine(StandInEngine):
    """An engine with one image: `files` by path, and (path, kind, target) of links."""

    def __init__(self, files: dict[str, bytes], links: list[tuple[str, bytes, str]]) -> None:
        super().__init__()
        self.files, self.links = files, links
        self.asked: list[str] = []
        self.ran = RunOutput(127, "", "")

    def image(self, name: str) -> EngineImage:
        return EngineImage(name)

    def run(self, container: str, timeout_seconds: int = 120, stdin: bytes = b"") -> RunOutput:
        return self.ran

    def root_files(self, container: str) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as written:
            for name, content in self.files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                written.addfile(entry, io.BytesIO(content))
            for name, kind, target in self.links:
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = kind, target
                written.addfile(entry)
        with tarfile.open(fileobj=ChunkReader(iter([buffer.getvalue()])), mode="r|") as archive:
            for member in archive:
                yield member, archive

    def read_file(self, container: str, path: str) -> bytes | None:
        self.asked.append(path)
        target = next(target for name, _, target in self.links if f"/{name}" == path)
        return self.files.get(target.lstrip("/"))


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE], ids=["hard", "symbolic"])
def test_linked_files_are_read_through_their_links(kind: bytes) -> None:
    files = {"store/module": KO.build(), "store/dep": IMAGE_DEP.encode()}
    engine = ImageEngine(files, [(_MODULE, kind, "store/module"), (_DEP, kind, "store/dep")])
    facts = read_cell_image(engine, "sha256:1", KERNEL)
    assert facts.module_paths == (f"/{_MODULE}",)
    assert facts.ko == KO.build()
    assert facts.modules_dep == IMAGE_DEP


def test_a_link_to_nothing_is_a_module_without_content() -> None:
    engine = ImageEngine({}, [(_MODULE, tarfile.SYMTYPE, "/nowhere"), (_DEP, tarfile.SYMTYPE, "/nowhere")])
    facts = read_cell_image(engine, "sha256:1", KERNEL)
    assert (facts.module_paths, facts.ko, facts.modules_dep) == ((f"/{_MODULE}",), b"", None)


def test_a_damaged_packed_module_is_a_finding() -> None:
    cut = lzma.compress(KO.build())[:-9]
    engine = ImageEngine({f"{_MODULE}.xz": cut}, [])
    facts = read_cell_image(engine, "sha256:1", KERNEL)
    assert facts.ko == cut
    assert [finding.code for finding in Case(image={"ko": facts.ko}).check().findings] == ["elf-garbage"]


def test_plain_files_are_read_in_the_one_pass() -> None:
    files = {_MODULE: KO.build(), _DEP: IMAGE_DEP.encode(), "usr/bin/cp": b"x", "opt/lib/beegfs.ko.d": b"no module"}
    engine = ImageEngine(files, [(f"{OPT}/host".lstrip("/"), tarfile.SYMTYPE, f"/lib/modules/{KERNEL}")])
    facts = read_cell_image(engine, "sha256:1", KERNEL)
    assert (facts.ko, facts.modules_dep, facts.has_cp) == (KO.build(), IMAGE_DEP, True)
    assert facts.host_link == f"/lib/modules/{KERNEL}"
    assert engine.asked == []


_FEATURES = f"{OPT}/extra/beegfs.features".lstrip("/")
_CONFIGS = {"etc/beegfs/beegfs-client.conf": b"sysMgmtdHost =\n", "etc/beegfs/beegfs-helperd.conf": b"logLevel = 3\n"}


def test_the_features_and_the_templates_are_read_in_the_same_pass() -> None:
    engine = ImageEngine({_MODULE: KO.build(), _FEATURES: b"OFED_B\nBEEGFS_A\n", **_CONFIGS}, [])
    facts = read_cell_image(engine, "sha256:1", KERNEL)
    assert facts.features == ("BEEGFS_A", "OFED_B")
    assert (facts.client_config, facts.helperd_config) == ("sysMgmtdHost =\n", "logLevel = 3\n")
    assert engine.asked == []


def test_a_template_that_is_a_link_is_read_through_it() -> None:
    config = "etc/beegfs/beegfs-client.conf"
    engine = ImageEngine({"store/conf": b"a = 1\n"}, [(config, tarfile.SYMTYPE, "store/conf")])
    assert read_cell_image(engine, "sha256:1", KERNEL).client_config == "a = 1\n"


@pytest.mark.parametrize(
    ("content", "features"),
    [
        (None, None),
        (b"", ()),
        (b"KERNEL_HAS_A\nKERNEL_HAS_A\n", ("KERNEL_HAS_A",)),
        (b"KERNEL_HAS", None),
        (b"\xff\0\n", None),
    ],
    ids=["none", "empty", "twice", "cut", "no text"],
)
def test_a_list_of_features_that_is_not_whole_is_unknown(
    content: bytes | None, features: tuple[str, ...] | None
) -> None:
    engine = ImageEngine({_MODULE: KO.build()} | ({} if content is None else {_FEATURES: content}), [])
    facts = read_cell_image(engine, "sha256:1", KERNEL)
    assert (facts.features, facts.client_config, facts.helperd_config) == (features, None, None)


_MARKS = "@kmatrix-status {}\n@kmatrix-status {}\n"


@pytest.mark.parametrize(
    ("status", "stdout", "said"),
    [
        (0, _MARKS.format(137, 0), "`modinfo` was killed by signal 9"),
        (0, _MARKS.format(0, 139), "`modprobe --dump-modversions` was killed by signal 11"),
        (137, "", "its shell was killed by signal 9"),
        (137, "filename: x\n@kmatrix-status 0\n", "its shell was killed by signal 9"),
        (0, "", "the engine lost the output of modinfo and modprobe"),
        (0, "filename: x\n@kmatrix-status 0\n", "the engine lost the output of modinfo and modprobe"),
    ],
)
def test_tools_that_were_killed_or_not_heard_say_nothing_about_the_module(status: int, stdout: str, said: str) -> None:
    engine = ImageEngine({_MODULE: KO.build()}, [])
    engine.ran = RunOutput(status, stdout, "")
    with pytest.raises(ToolError, match=said) as raised:
        read_cell_image(engine, "sha256:1", KERNEL)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("status", "stdout", "codes"),
    [(0, _MARKS.format(1, 2), (1, 2)), (127, "", (127, 127)), (126, _MARKS[: len(_MARKS) // 2].format(0), (0, 126))],
)
def test_tools_that_fail_by_themselves_do(status: int, stdout: str, codes: tuple[int, int]) -> None:
    engine = ImageEngine({_MODULE: KO.build()}, [])
    engine.ran = RunOutput(status, stdout, "")
    facts = read_cell_image(engine, "sha256:1", KERNEL)
    assert (facts.modinfo.exit_code, facts.modversions.exit_code) == codes
