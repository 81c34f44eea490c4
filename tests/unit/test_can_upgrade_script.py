"""deploy/can-upgrade, against a fake `oc`: which updates it calls safe, which pools it names, and what it ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kmatrix.decide.manifests import prebuilt
from kmatrix.decide.release_kernels import release_kernels
from tests.unit.support.made_up_profile import KERNELS, lock, profile
from tests.unit.support.manifest_maker import bundle, objects, sources
from tests.unit.support.upgrade_cluster import (
    ARM,
    ARM64K,
    FIRST,
    IMAGE,
    LAST,
    MODULES,
    NODES,
    PAYLOAD,
    POOLS,
    PREFLIGHTS,
    RT,
    TEN,
    VERSION,
    cluster_of,
    daemonset,
    definition,
    module,
    node,
    pod,
    pool,
    statement,
    updates,
)

Nodes = tuple[dict[str, Any], ...]
OTHER = f"registry.example/team/beegfs-client@sha256:{'9' * 64}"
LABEL = "io.github.beegfs-kmatrix.kernels"


def answer(
    tmp_path: Path, *arguments: str, nodes: tuple[dict[str, Any], ...] = NODES, **state: Any
) -> tuple[int, str, str]:
    done = cluster_of(tmp_path, nodes, **state).run("can-upgrade", *arguments)
    return done.returncode, done.stdout, done.stderr


def test_an_update_is_safe_if_the_image_has_the_kernel_of_every_pool(tmp_path: Path) -> None:
    assert answer(tmp_path) == (0, "4.18.14: safe\n", "")


def test_a_pool_that_would_lose_its_storage_is_named_with_the_kernel(tmp_path: Path) -> None:
    code, said, told = answer(tmp_path, configmap=statement(FIRST))
    assert code == 1
    assert said == (
        "4.18.14: NOT SAFE\n"
        f"  pool master (1 node, amd64, standard, el9) would lose its storage: no module for {LAST}\n"
        f"  pool worker (2 nodes, amd64, standard, el9) would lose its storage: no module for {LAST}\n"
    )
    assert "not every release is safe: build for it and apply the result" in told


@pytest.mark.parametrize(
    ("kernel", "needs", "flavour"),
    [
        (f"{FIRST}+rt", RT, "rt"),
        # RHEL 9.2 and earlier: the real-time kernel has a version of its own.
        ("5.14.0-284.86.1.rt14.371.el9_2.x86_64", RT, "rt"),
        ("5.14.0-427.50.1.el9_4.aarch64", ARM, "standard"),
        ("5.14.0-427.50.1.el9_4.aarch64+64k", ARM64K, "64k"),
    ],
)
def test_nodes_need_the_kernel_of_their_architecture_and_flavour(
    tmp_path: Path, kernel: str, needs: str, flavour: str
) -> None:
    nodes = (*NODES, node("special", kernel, "special"))
    others = [each for each in (RT, ARM, ARM64K) if each != needs]
    code, said, _ = answer(tmp_path, nodes=nodes, configmap=statement(FIRST, LAST, *others))
    arch = "arm64" if "aarch64" in kernel else "amd64"
    assert code == 1
    assert f"pool special (1 node, {arch}, {flavour}, el9) would lose its storage: no module for {needs}\n" in said
    assert said.count("would lose") == 1
    (tmp_path / "again").mkdir()
    assert answer(tmp_path / "again", nodes=nodes, configmap=statement(LAST, needs))[0] == 0


def test_a_flavour_of_which_no_kernel_is_stated_is_unknown(tmp_path: Path) -> None:
    code, said, _ = answer(tmp_path, nodes=(node("w1", f"{FIRST}+debug"),))
    assert code == 1
    assert "4.18.14: unknown\n" in said
    assert "unknown: no debug kernel of its stream el9 is known" in said


@pytest.mark.parametrize(
    ("stream", "kernels", "lost"),
    [
        # A pool that states no stream gets the release's default, which another release may change.
        ("", (LAST, TEN), ""),
        ("", (LAST,), TEN),
        ("", (TEN,), LAST),
        ("rhel-9", (LAST,), ""),
        ("rhel-9", (TEN,), LAST),
        ("rhel-10", (TEN,), ""),
        ("rhel-10", (LAST,), TEN),
    ],
)
def test_a_pool_needs_the_kernel_of_its_stream_or_of_both(
    tmp_path: Path, stream: str, kernels: tuple[str, ...], lost: str
) -> None:
    code, said, _ = answer(
        tmp_path,
        nodes=(node("w1"),),
        pools=[pool("worker", stream)],
        version=updates("5.0.1"),
        configmap=statement(*kernels),
    )
    assert code == (1 if lost else 0)
    assert ("would lose its storage: no module for " + lost in said) is bool(lost)
    assert said.count("would lose") == bool(lost)


def test_a_stream_that_the_release_does_not_have_is_unknown(tmp_path: Path) -> None:
    code, said, _ = answer(tmp_path, pools=[pool("worker", "rhel-10"), pool("master")])
    assert code == 1
    assert "4.18.14: unknown\n  pool worker (2 nodes, amd64, standard, el9): unknown: " in said
    assert "does not state its kernels of stream el10" in said


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("4.18.15", "its kernels are not known: registry.example/toolkit: refuses anonymous | access"),
        ("4.18.1", "the ConfigMap beegfs-client-releases does not state its kernels"),
        ("4.18.20", "the ConfigMap beegfs-client-releases does not state its kernels"),
    ],
)
def test_what_is_not_known_is_never_safe(tmp_path: Path, version: str, why: str) -> None:
    code, said, _ = answer(tmp_path, version=updates(version))
    assert code == 1
    assert said.startswith(f"{version}: unknown\n  pool master (1 node, amd64, standard, el9): unknown: {why}\n")


def test_without_the_statement_no_release_is_safe(tmp_path: Path) -> None:
    code, said, _ = answer(tmp_path, configmap=None, labels={LABEL: f"{FIRST},{LAST}"})
    assert code == 1
    assert "4.18.14: unknown\n" in said


def test_every_offered_release_has_its_own_verdict_and_conditional_ones_are_marked(tmp_path: Path) -> None:
    version = updates("4.18.9", "4.18.14", conditional=("4.18.15", "4.18.14"))
    code, said, _ = answer(tmp_path, version=version, configmap=statement(LAST))
    assert code == 1
    verdicts = [line for line in said.splitlines() if not line.startswith(" ")]
    assert verdicts == [
        "4.18.9: NOT SAFE",
        "4.18.14: safe",
        "4.18.15: unknown (conditional, and not recommended for this cluster (Recommended=False))",
    ]


def test_a_release_that_is_named_is_judged_alone_offered_or_not(tmp_path: Path) -> None:
    code, said, told = answer(tmp_path, "4.18.9", version=updates("4.18.15"))
    assert (code, said) == (0, "4.18.9: safe\n")
    assert "the cluster does not offer 4.18.9 itself" in told


def test_a_paused_pool_is_marked(tmp_path: Path) -> None:
    pools = [pool("master"), pool("worker", paused=True)]
    code, said, _ = answer(tmp_path, pools=pools, configmap=statement(FIRST))
    assert code == 1
    assert "pool worker (2 nodes, amd64, standard, el9), paused: keeps its kernel until it is resumed would" in said


def test_nodes_without_the_client_have_nothing_to_lose(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path, daemonsets=[daemonset(3)])
    cluster.change(nodes=[*NODES, node("arm", "5.14.0-427.50.1.el9_4.aarch64", "arm")])
    done = cluster.run("can-upgrade")
    assert (done.returncode, done.stdout) == (0, "4.18.14: safe\n")


def test_a_missing_pod_is_not_taken_for_a_node_without_the_client(tmp_path: Path) -> None:
    code, said, told = answer(tmp_path, daemonsets=[daemonset(4)])
    assert (code, said) == (1, "")
    assert "the client is for 4 nodes, but has pods on 3" in told


def test_a_node_that_never_pulled_the_image_is_unknown(tmp_path: Path) -> None:
    """Its old module may still be loaded; `updatedNumberScheduled` counts its pod."""
    waiting = {**pod("w2", ""), "status": {"containerStatuses": [{"name": "client", "image": IMAGE, "imageID": ""}]}}
    cluster = cluster_of(tmp_path)
    for lacking in (pod("w2", ""), waiting):
        cluster.change(pods=[pod("m1"), pod("w1"), lacking])
        done = cluster.run("can-upgrade")
        assert done.returncode == 1
        assert done.stdout == (
            "4.18.14: unknown\n"
            "  nodes w2: unknown: the client's image has not been pulled there (oc -n beegfs-client get pods)\n"
        )
    cluster.change(pods=[pod("m1"), pod("w1"), pod("w2")])
    assert cluster.run("can-upgrade").returncode == 0


def test_of_several_daemonsets_none_is_taken(tmp_path: Path) -> None:
    other = {**daemonset(0, OTHER), "metadata": {"name": "left-over", "generation": 3}}
    rhel = {**daemonset(0, OTHER), "metadata": {"name": "beegfs-client-rhel", "generation": 3}}
    code, said, told = answer(tmp_path, daemonsets=[daemonset(3), other])
    assert (code, said) == (1, "")
    assert "the client has several DaemonSets in beegfs-client" in told
    (tmp_path / "again").mkdir()
    assert answer(tmp_path / "again", daemonsets=[daemonset(3), rhel])[0] == 0


def test_rhel_workers_keep_their_kernel(tmp_path: Path) -> None:
    rhel = node("rhel", "5.14.0-570.12.1.el9_6.x86_64", "", "Red Hat Enterprise Linux 9.6 (Plow)")
    code, said, told = answer(tmp_path, nodes=(*NODES, rhel))
    assert (code, said) == (0, "4.18.14: safe\n")
    assert "rhel runs Red Hat Enterprise Linux 9.6 (Plow): an update of the cluster does not change its kernel" in told


def test_nodes_of_hosted_clusters_are_named_by_their_node_pool(tmp_path: Path) -> None:
    hosted = node("h1", pool="", **{"hypershift.openshift.io/nodePool": "blue"})
    alone = node("h2", pool="")
    code, said, _ = answer(tmp_path, nodes=(hosted, alone), definitions={}, configmap=statement(FIRST))
    assert code == 1
    assert "  pool blue (1 node, amd64, standard, el9) would lose its storage" in said
    assert "  nodes h2 (amd64, standard, el9) would lose its storage" in said


@pytest.mark.parametrize(
    "status", [{"updatedNumberScheduled": 2}, {"observedGeneration": 2}, {"updatedNumberScheduled": None}]
)
def test_a_roll_out_that_is_not_complete_is_not_safe(tmp_path: Path, status: dict[str, Any]) -> None:
    code, said, told = answer(tmp_path, daemonsets=[daemonset(3, **status)])
    assert code == 1
    assert said == (
        "4.18.14: unknown\n"
        "  the roll-out of the client is not complete: a node with an old pod has the old image after its reboot\n"
    )
    assert "finish the roll-out first (deploy/drain-mounted-nodes)" in told


def test_a_mirror_of_the_image_is_the_same_image(tmp_path: Path) -> None:
    image = IMAGE.replace("registry.example", "mirror.example:5000")
    assert answer(tmp_path, daemonsets=[daemonset(3, image)], refuses=["image info"])[0] == 0


@pytest.mark.parametrize("kernels", ["", f"{FIRST}", f"{FIRST},{LAST}"])
def test_of_another_image_than_the_stated_one_the_label_counts(tmp_path: Path, kernels: str) -> None:
    code, said, told = answer(tmp_path, daemonsets=[daemonset(3, OTHER)], labels={LABEL: kernels})
    assert code == (0 if LAST in kernels else 1)
    assert ("NOT SAFE" in said) is (LAST not in kernels)
    assert "the DaemonSet runs another image than beegfs-client-releases is about" in told


def test_an_image_without_the_label_is_no_safe_one(tmp_path: Path) -> None:
    code, said, told = answer(tmp_path, daemonsets=[daemonset(3, OTHER)])
    assert (code, said) == (1, "")
    assert "has no label io.github.beegfs-kmatrix.kernels" in told


def test_an_image_that_the_cluster_builds_is_unknown_before_the_update(tmp_path: Path) -> None:
    image = f"image-registry.openshift-image-registry.svc:5000/beegfs-client/beegfs-client@sha256:{'d' * 64}"
    code, said, told = answer(tmp_path, daemonsets=[daemonset(3, image)])
    assert (code, said) == (1, "")
    assert "unknown: this image is built in the cluster" in told


@pytest.mark.parametrize(("retrieved", "wanted"), [("True", 0), ("False", 4), ("Unknown", 4)])
def test_no_offer_is_safe_only_if_the_update_service_answered(tmp_path: Path, retrieved: str, wanted: int) -> None:
    code, said, told = answer(tmp_path, version=updates(retrieved=retrieved))
    assert (code, said) == (wanted, "")
    assert "the cluster offers no update" in told
    assert ("the update service says no" in told) is (retrieved != "True")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("get clusterversions", "cannot get the offered updates"),
        ("get daemonsets", "cannot list the DaemonSets of the client"),
        ("get customresourcedefinitions", "cannot get the cluster's resource definitions"),
        ("get machineconfigpools", "cannot list the machine config pools"),
        ("get pods", "cannot list the client's pods"),
        ("get nodes", "cannot list the nodes"),
        ("get configmap", "cannot get the ConfigMap beegfs-client-releases"),
        ("get modules", "cannot get the Module beegfs"),
        ("image info", "cannot read the image that the DaemonSet runs"),
    ],
)
def test_a_cluster_or_registry_that_does_not_answer_ends_it_with_4(tmp_path: Path, call: str, says: str) -> None:
    image, load = (OTHER, "self") if call == "image info" else (IMAGE, "external" if "modules" in call else "self")
    code, said, told = answer(
        tmp_path,
        refuses=[call],
        daemonsets=[daemonset(3, image, load)],
        definitions={POOLS: {}, MODULES: {}},
    )
    assert (code, said) == (4, "")
    assert says in told


@pytest.mark.parametrize("arguments", [("-h",), ("--preflight",), ("--preflight", "4.18.9", FIRST, LAST), ("four",)])
def test_a_wrong_command_line_ends_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, said, told = answer(tmp_path, *arguments)
    assert (code, said) == (2, "")
    assert "usage: can-upgrade [RELEASE...]" in told


def test_a_cluster_without_the_client_ends_with_2(tmp_path: Path) -> None:
    code, _, told = answer(tmp_path, daemonsets=[], definitions={POOLS: {}, MODULES: {}})
    assert code == 2
    assert "there is neither a DaemonSet of the client nor its Module" in told


KMM = {POOLS: {}, MODULES: {}, PREFLIGHTS: definition("kernelVersion", "dtkImage", "pushBuiltImage")}
OLD_KMM = {**KMM, PREFLIGHTS: definition("releaseImage", "useRTKernel", "pushBuiltImage")}


@pytest.mark.parametrize("daemonsets", [[daemonset(3, load="external")], []])
def test_with_kmm_the_mappings_of_its_module_count(tmp_path: Path, daemonsets: list[dict[str, Any]]) -> None:
    state: dict[str, Any] = {"definitions": KMM, "daemonsets": daemonsets, "configmap": statement(FIRST, LAST)}
    code, said, _ = answer(tmp_path, **state, module=module(FIRST))
    assert code == 1
    assert f"pool worker (2 nodes, amd64, standard, el9) would lose its storage: no module for {LAST}" in said
    (tmp_path / "again").mkdir()
    assert answer(tmp_path / "again", **state, module=module(FIRST, LAST))[0] == 0


@pytest.mark.parametrize("stated", ["8.2.2", ""])
def test_kmm_loads_nothing_for_a_new_kernel_where_the_label_states_another_version(tmp_path: Path, stated: str) -> None:
    labelled = {VERSION: "8.3.1"}
    nodes = (node("m1", pool="master", **labelled), node("w1", **labelled), node("w2", **{VERSION: stated}))
    state: dict[str, Any] = {"definitions": KMM, "daemonsets": [daemonset(3, load="external")]}
    state["module"] = module(FIRST, LAST, version="8.3.1")
    code, said, _ = answer(tmp_path, nodes=nodes, **state)
    assert code == 1
    assert said == (
        "4.18.14: NOT SAFE\n  nodes w2 would lose their storage: their label "
        f"{VERSION} is not the Module's version, 8.3.1 (docs/kmm.md, One node at a time)\n"
    )
    (tmp_path / "again").mkdir()
    assert (
        answer(tmp_path / "again", nodes=nodes[:2], **{**state, "daemonsets": [daemonset(2, load="external")]})[0] == 0
    )
    (tmp_path / "without").mkdir()
    state["module"] = module(FIRST, LAST)
    assert answer(tmp_path / "without", nodes=nodes, **state)[0] == 0, "without a version no label counts"


def test_without_a_daemonset_a_node_without_the_label_has_nothing_to_lose(tmp_path: Path) -> None:
    nodes = (node("m1", f"{FIRST}+rt", pool="master"), node("w1", **{VERSION: "8.3.1"}))
    state: dict[str, Any] = {"definitions": KMM, "daemonsets": [], "module": module(FIRST, LAST, version="8.3.1")}
    assert answer(tmp_path, nodes=nodes, **state) == (0, "4.18.14: safe\n", "")


def test_a_mapping_by_a_pattern_is_unknown_until_kmm_has_checked_it(tmp_path: Path) -> None:
    state: dict[str, Any] = {"definitions": KMM, "daemonsets": [daemonset(3, load="external")]}
    code, said, _ = answer(tmp_path, **state, module=module(FIRST, regexp=r"^.+\.el9_4\.x86_64$"))
    assert code == 1
    assert "4.18.14: unknown\n" in said
    assert "let it check: can-upgrade --preflight 4.18.14" in said


def test_the_preflight_of_a_release_has_one_object_per_kernel_that_nodes_would_run(tmp_path: Path) -> None:
    nodes = (*NODES, node("rt", f"{FIRST}+rt", "realtime"))
    code, said, _ = answer(tmp_path, "--preflight", "4.18.14", nodes=nodes, definitions=KMM, module=module(FIRST))
    assert code == 0
    assert list(yaml.safe_load_all(said)) == [
        {
            "apiVersion": "kmm.sigs.x-k8s.io/v1beta2",
            "kind": "PreflightValidationOCP",
            "metadata": {"name": name},
            "spec": {"kernelVersion": kernel},
        }
        for name, kernel in (
            ("beegfs-5.14.0-427.68.1.el9-4.x86-64", LAST),
            ("beegfs-5.14.0-427.68.1.el9-4.x86-64-rt", RT),
        )
    ]


def test_kmm_checks_one_kernel_at_a_time_so_one_can_be_had_alone(tmp_path: Path) -> None:
    nodes = (*NODES, node("rt", f"{FIRST}+rt", "realtime"))
    cluster = cluster_of(tmp_path, nodes, definitions=KMM, module=module(FIRST))
    assert "KMM checks one object at a time" in cluster.run("can-upgrade", "--preflight", "4.18.14").stderr
    done = cluster.run("can-upgrade", "--preflight", "4.18.14", RT)
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load(done.stdout)["spec"] == {"kernelVersion": RT}
    done = cluster.run("can-upgrade", "--preflight", "4.18.14", TEN)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"no node would run {TEN} after the update to 4.18.14" in done.stderr


def test_an_older_kmm_gets_the_release_image(tmp_path: Path) -> None:
    nodes = (*NODES, node("rt", f"{FIRST}+rt", "realtime"))
    code, said, _ = answer(tmp_path, "--preflight", "4.18.14", nodes=nodes, definitions=OLD_KMM, module=module(FIRST))
    assert code == 0
    image = f"{PAYLOAD[:-1]}4"
    assert [(each["metadata"]["name"], each["spec"]) for each in yaml.safe_load_all(said)] == [
        ("beegfs-4.18.14-rt", {"releaseImage": image, "useRTKernel": True}),
        ("beegfs-4.18.14-standard", {"releaseImage": image}),
    ]


@pytest.mark.parametrize(
    ("release", "definitions", "code", "says"),
    [
        ("4.18.15", KMM, 1, "its kernels are not known: registry.example/toolkit"),
        ("4.18.9", OLD_KMM, 2, "the cluster does not offer 4.18.9, so its image is not known; offered: 4.18.14"),
        ("4.18.14", {POOLS: {}, MODULES: {}}, 2, "no Kernel Module Management that can check an update"),
        ("4.18.14", {**KMM, PREFLIGHTS: {"spec": {"versions": []}}}, 2, "no PreflightValidationOCP of v1beta2"),
    ],
)
def test_no_preflight_is_printed_that_kmm_could_not_check(
    tmp_path: Path, release: str, definitions: dict[str, Any], code: int, says: str
) -> None:
    done = answer(tmp_path, "--preflight", release, definitions=definitions, module=module(FIRST))
    assert done[:2] == (code, "")
    assert says in done[2]


def test_the_kernels_of_okd_are_read_too(tmp_path: Path) -> None:
    system = "CentOS Stream CoreOS 9.0.20250510-0"
    nodes = (node("o1", "5.14.0-570.el9.x86_64", system=system),)
    lines = "4.20.0-okd-scos.3 amd64 el9 5.14.0-604.el9.x86_64\n"
    stated = statement("5.14.0-604.el9.x86_64", releases=lines)
    assert answer(tmp_path, nodes=nodes, version=updates("4.20.0-okd-scos.3"), configmap=stated) == (
        0,
        "4.20.0-okd-scos.3: safe\n",
        "",
    )


def test_the_script_reads_what_the_manifests_state(tmp_path: Path) -> None:
    """The ConfigMap as `manifests` renders it, with the releases of a lock."""
    rendered = objects(prebuilt(sources(), bundle(), release_kernels(lock(profile()))))
    stated = rendered["ConfigMap", "beegfs-client-releases"]
    version, _, kernel = KERNELS["el9"]
    nodes = (node("w1", f"{FIRST}+rt"),)
    image = bundle().image.pinned
    state: dict[str, Any] = {"version": updates(version), "daemonsets": [daemonset(1, image)], "configmap": stated}
    code, said, _ = answer(tmp_path, nodes=nodes, **state)
    assert code == 1
    assert f"pool worker (1 node, amd64, rt, el9) would lose its storage: no module for {kernel}\n" in said
    (tmp_path / "again").mkdir()
    stated["data"]["kernels"] += f"{kernel}\n"
    assert answer(tmp_path / "again", nodes=nodes, **state) == (0, f"{version}: safe\n", "")
