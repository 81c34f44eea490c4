"""The build in a cluster: its golden Dockerfile, context and arguments, and the decisions of fetch-packages."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType

import pytest

from kmatrix.decide.in_cluster import TOOLKIT, in_cluster_build_args, in_cluster_dockerfile, in_cluster_files
from kmatrix.effects.engine.build_context import read_image_source
from kmatrix.values.errors import InputError
from kmatrix.values.names import ClientVersion
from kmatrix.values.recipe import ImageSource, userland_by_major, userland_packages
from tests.unit.support.made_up_profile import FINGERPRINT, ROOT, profile, recipes

GOLDEN = ROOT / "tests" / "golden" / "incluster" / "Dockerfile"
FOLDER = ROOT / "images" / "beegfs-client"


@pytest.fixture
def source() -> ImageSource:
    return read_image_source(FOLDER)


@pytest.fixture(scope="module")
def fetching() -> ModuleType:
    """The script, which has no suffix, as a module."""
    path = FOLDER / "fetch-packages"
    module = ModuleType("fetch_packages")
    # Not by a loader of Python's: that would leave a compiled copy in the build context.
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), module.__dict__)
    return module


def instructions(dockerfile: str, name: str) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in dockerfile.splitlines() if line.startswith(f"{name} ")]


def test_the_dockerfile_is_the_golden_one(source: ImageSource) -> None:
    """`KMATRIX_UPDATE_GOLDEN=1` writes it again; look at the difference before you commit it."""
    rendered = in_cluster_dockerfile(source, "ocp", profile())
    if os.environ.get("KMATRIX_UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(parents=True, exist_ok=True)
        GOLDEN.write_text(rendered, encoding="utf-8")
    assert rendered == GOLDEN.read_text(encoding="utf-8"), "renew with KMATRIX_UPDATE_GOLDEN=1"


def test_its_last_stage_is_the_toolkit(source: ImageSource) -> None:
    # OpenShift's builder replaces the last one by the toolkit.
    assert instructions(in_cluster_dockerfile(source, "ocp", profile()), "FROM") == [f"{TOOLKIT} AS client"]


def test_no_version_and_no_rhel_line_is_fixed_in_it(source: ImageSource) -> None:
    text = in_cluster_dockerfile(source, "ocp", profile())
    assert not any(part in text for part in ("rhel8", "rhel9", "rhel10", "el8", "el9", "el10", "7.4.6", "8.2.2"))
    assert instructions(text, "ARG") == ["CLIENT_VERSION", "PACKAGES", "KEY_FINGERPRINT"]


def test_it_starts_what_the_cell_images_start(source: ImageSource) -> None:
    ours = in_cluster_dockerfile(source, "ocp", profile())
    for recipe in recipes(profile()).values():
        for name in ("ENTRYPOINT", "CMD"):
            assert instructions(ours, name) == instructions(recipe.dockerfile, name) != []


def test_it_copies_exactly_the_files_of_its_context(source: ImageSource) -> None:
    text = in_cluster_dockerfile(source, "ocp", profile())
    copied = [word for line in instructions(text, "COPY") for word in line.split()[:-1]]
    assert sorted(copied) == sorted(in_cluster_files(source, text, b"the key"))


def test_an_editors_file_beside_the_template_is_not_in_the_config_map(source: ImageSource) -> None:
    text = in_cluster_dockerfile(source, "ocp", profile())
    strayed = ImageSource(source.template, {**source.files, ".beegfs-node.swp": b"b0VIM\x00\xff", "sub/x": b""})
    assert in_cluster_files(strayed, text, b"the key") == in_cluster_files(source, text, b"the key")


def test_every_file_that_it_runs_is_run_by_name_or_made_executable(source: ImageSource) -> None:
    # A ConfigMap's files are not executable.
    text = in_cluster_dockerfile(source, "ocp", profile())
    assert text.count("bash /kmatrix/unpack-packages") == text.count("/kmatrix/unpack-packages")
    (made,) = [line for line in instructions(text, "RUN") if line.startswith("chmod")]
    assert made.split("&&")[0].split()[2:] == ["/usr/local/sbin/beegfs-node", "/usr/local/sbin/rebuild-module"]


def test_without_rdma_the_module_is_built_without(source: ImageSource) -> None:
    assert "BEEGFS_CLIENT_RDMA=yes" in in_cluster_dockerfile(source, "ocp", profile(rdma=True))
    assert "BEEGFS_CLIENT_RDMA=no" in in_cluster_dockerfile(source, "ocp", profile(rdma=False))


def test_its_arguments_are_the_profiles_and_the_version() -> None:
    assert in_cluster_build_args(profile(), ClientVersion(8, 2, 2), FINGERPRINT) == {
        "CLIENT_VERSION": "8.2.2",
        "PACKAGES": "https://packages.example/release",
        "KEY_FINGERPRINT": FINGERPRINT,
    }


def test_what_only_a_build_in_a_cluster_copies_makes_no_cell_anew(source: ImageSource) -> None:
    alone = ("fetch-packages", "rebuild-module")
    assert set(alone) < set(source.files)
    changed = ImageSource(source.template, {**source.files, **dict.fromkeys(alone, b"other")})
    keys = [{name: recipe.cell_key for name, recipe in recipes(profile(), each).items()} for each in (source, changed)]
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("files", "key", "message"),
    [
        ({"package-key": b""}, b"\x99\x01", "package-key: a ConfigMap cannot hold it"),
        ({"tool": b"\x7fELF\xff"}, b"key", "tool: a ConfigMap cannot hold it"),
        ({"folder/file": b"text"}, b"key", "folder/file: a ConfigMap cannot hold a folder"),
    ],
)
def test_what_a_config_map_cannot_hold_is_refused(files: dict[str, bytes], key: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        in_cluster_files(ImageSource("", files), f"FROM x\nCOPY {' '.join(files)} /kmatrix/\n", key)


# fetch-packages


@pytest.mark.parametrize(
    ("toolkit", "system", "expected"),
    [
        ({"RHEL_VERSION": "8.6"}, "", "8"),
        ({"RHEL_VERSION": "9.4"}, 'ID="rhel"\nVERSION_ID="8.6"\n', "9"),
        ({"RHEL_VERSION": "10.2"}, "", "10"),
        ({"RHEL_VERSION": "9"}, "", "9"),
        ({"RHEL_VERSION": "9.4 (Plow)"}, "", "9"),
        ({"RHEL_VERSION": "", "KERNEL_VERSION": "5.14.0-570.el9.x86_64"}, "ID=scos\nVERSION_ID=8\n", "9"),
        # The toolkit of RHEL 10's kernels on a base image of RHEL 9.
        ({"RHEL_VERSION": "9.8", "KERNEL_VERSION": "6.12.0-211.28.1.el10_2.x86_64"}, "", "10"),
        # Toolkits before 4.9 do not state it.
        ({"KERNEL_VERSION": "4.18.0-305.el8"}, 'NAME=x\nID="rhel"\nVERSION_ID="8.4"\n', "8"),
        (None, "ID=centos\nVERSION_ID=9\n", "9"),
    ],
)
def test_the_rhel_line_is_the_toolkits(
    fetching: ModuleType, tmp_path: Path, toolkit: dict[str, str] | None, system: str, expected: str
) -> None:
    if toolkit is not None:
        (tmp_path / "toolkit").write_text(json.dumps(toolkit))
    (tmp_path / "system").write_text(system)
    assert fetching.rhel_major(str(tmp_path / "toolkit"), str(tmp_path / "system")) == expected


@pytest.mark.parametrize("text", ["", "{}", '{"RHEL_VERSION": "nine"}', "[]", "{", '{"RHEL_VERSION": "9.4/../8"}'])
def test_no_rhel_line_is_ever_assumed(fetching: ModuleType, tmp_path: Path, text: str) -> None:
    (tmp_path / "toolkit").write_text(text)
    (tmp_path / "system").write_text("ID=debian\nVERSION_ID=12\n")
    with pytest.raises(fetching.Refused, match=r"^toolkit-un"):
        fetching.rhel_major(str(tmp_path / "toolkit"), str(tmp_path / "system"))


@pytest.mark.parametrize("version", [ClientVersion(7, 4, 6), ClientVersion(8, 2, 2), ClientVersion(9, 0, 1)])
def test_it_looks_where_discover_looks(fetching: ModuleType, version: ClientVersion) -> None:
    address = fetching.repository("https://packages.example/release/", str(version), "9")
    assert address == f"https://packages.example/release/{version.repository_directory}/dists/rhel9/"


@pytest.mark.parametrize("version", ["", "7.4", "8.2.2 ", "v8.2.2", "8.2.2/../8", "8.02.2", "latest"])
def test_a_version_that_is_none_is_refused(fetching: ModuleType, version: str) -> None:
    with pytest.raises(fetching.Refused, match=r"^version-invalid: CLIENT_VERSION is "):
        fetching.repository("https://packages.example", version, "9")


def test_a_package_root_that_is_no_address_is_refused(fetching: ModuleType) -> None:
    with pytest.raises(fetching.Refused, match=r"^root-invalid: PACKAGES is "):
        fetching.repository("", "8.2.2", "9")


SECRET_ROOTS = [
    "https://user:SECRET@packages.example/release",
    "https://SECRET@packages.example/release/",
    "https://user:SE/CRET:SECRET@packages.example",
    "https://packages.example/release?SECRET",
    "https://packages.example/release?token=SECRET&sign=SECRET",
    "https://packages.example/release#SECRET",
]


@pytest.mark.parametrize("root", SECRET_ROOTS)
@pytest.mark.parametrize("problem", ["", "version-missing: {} has no x", "download-failed: {0}: 404 for {0}x (IP: 1)"])
def test_no_user_and_no_query_of_the_package_root_is_printed(
    fetching: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    root: str,
    problem: str,
) -> None:
    given = []

    def fetch(address: str, *_: object) -> list[str]:
        given.append(address)
        if problem:
            raise fetching.Refused(problem.format(address))
        return ["x"]

    monkeypatch.setitem(fetching.__dict__, "rhel_major", lambda: "9")
    monkeypatch.setitem(fetching.__dict__, "fetch", fetch)
    said = ""
    try:
        fetching.main(root, "8.2.2", str(tmp_path), "8=beegfs-client")
    except SystemExit as left:
        said = str(left)
    assert given == [fetching.repository(root, "8.2.2", "9")], "what dnf gets is whole"
    said += capsys.readouterr().out
    assert "CRET" not in said
    assert "https://packages.example" in said


@pytest.mark.parametrize(
    "root",
    [
        "user:SECRET@packages.example",
        "ftp://user:SECRET@h",
        "https://user:SE CRET@h",
        "h/x?SECRET",
        "https://h/x ?SECRET",
    ],
)
def test_no_user_and_no_query_of_what_is_no_address_is_printed(fetching: ModuleType, root: str) -> None:
    with pytest.raises(fetching.Refused, match=r"^root-invalid: PACKAGES is ") as caught:
        fetching.repository(root, "8.2.2", "9")
    assert "CRET" not in str(caught.value)


@pytest.mark.parametrize("root", ["file:///srv/packages", "/srv/packages", "packages.example"])
def test_a_package_root_in_a_cluster_is_on_the_web(fetching: ModuleType, root: str) -> None:
    with pytest.raises(fetching.Refused, match=f"^root-invalid: PACKAGES is '{root}', which is not a web address"):
        fetching.repository(root, "8.2.2", "9")


@pytest.mark.parametrize("version", [ClientVersion(7, 4, 6), ClientVersion(8, 2, 2), ClientVersion(9, 0, 1)])
def test_it_wants_the_packages_that_the_cells_have(fetching: ModuleType, version: ClientVersion) -> None:
    lists = [f"{major}={','.join(names)}" for major, names in userland_by_major()]
    assert fetching.wanted_names(str(version), lists) == list(userland_packages(version))
