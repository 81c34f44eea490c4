"""What a mount of the stand-in client needs, and why it is refused otherwise: the same as with the vendor's client.

Source: client_module/source of ThinkParQ/beegfs, app/App.c (the order of the checks), app/config/Config.c, and
filesystem/FhgfsOpsSuper.c (one error for all of them).
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.integration.support.node.client_node import NEW, OLD, ClientNode
from tests.integration.support.node.virtual_node import CLIENT, Shown


@dataclass(frozen=True)
class Case:
    """A configuration with a change (a sed script), and for each major the kernel's words; none where it mounts."""

    name: str
    change: str = ""
    old: str = ""
    new: str = ""
    options: str = "cfgFile=/site/CASE.conf"
    before: str = ""
    after: str = ""

    def words(self, image: str) -> str:
        """Return the reason that the kernel log has for an image's refusal."""
        return self.old if image == OLD else self.new


def both(name: str, words: str, change: str = "", **others: str) -> Case:
    return Case(name, change, words, words, **others)


_NO_HOST = "s/^\\(sysMgmtdHost *\\)=.*/\\1=/"
CASES = (
    Case("sound"),
    both("no-option", "no connAuthFile", options="rw"),
    both("unknown-option", "unknown mount option 'noSuchOption'", options="noSuchOption=1"),
    both("no-file", "cannot read the configuration file '/site/none.conf'", options="cfgFile=/site/none.conf"),
    Case("unknown-key", "$a noSuchKey = 1", old="config argument 'noSuchKey' is invalid"),
    both("bad-port", "' is invalid: its value is '-1'", "s/^\\(connClientPort[^=]*\\)=.*/\\1= -1/"),
    both("no-secret", "no connAuthFile", "s/^\\(connDisableAuthentication *\\)=.*/\\1= false/"),
    both("secret-missing", "'/site/no.auth'", "s|^\\(connAuthFile *\\)=.*|\\1= /site/no.auth|"),
    both("no-host", "Management host undefined", _NO_HOST),
    Case("host-by-option", _NO_HOST, options="cfgFile=/site/CASE.conf,sysMgmtdHost=192.0.2.3"),
    Case("host-name", "s/^\\(sysMgmtdHost *\\)=.*/\\1= mgmt.example/", new="'mgmt.example' is not an IP address"),
    both("loopback-alone", "no usable interface", before="ip link set node0 down", after="ip link set node0 up"),
    both("no-server", "Mount sanity check failed", "s/^\\(sysMountSanityCheckMS *\\)=.*/\\1= 300/"),
)
_CASE = """
client_config /site/CASE.conf
sed -i 'CHANGE' /site/CASE.conf
BEFORE
dmesg -c >/dev/null
section NAME-CASE mount -t beegfs -o OPTIONS beegfs_nodev /mnt
section NAME-CASE-log dmesg
umount /mnt
AFTER
"""
_MOUNTED = f"""
mount_client /mnt
section NAME-state sh -c 'cat /proc/[0-9]*/comm | grep ^beegfs_ | sort; ls /proc/fs/beegfs/*/; grep beegfs /proc/mounts'
section NAME-rmmod rmmod beegfs
# Another mount with the same UDP port.
section NAME-port mount -t beegfs -o cfgFile=/beegfs-client.conf beegfs_nodev /media
umount /mnt
section NAME-left sh -c 'cat /proc/[0-9]*/comm | grep ^beegfs_; ls -d /proc/fs/beegfs/*/'
section NAME-template mount -t beegfs -o cfgFile={CLIENT}/beegfs-client.conf beegfs_nodev /mnt
"""


def scenario(image: str) -> str:
    steps = [f"mkdir -p /media /site\npod_start {image}\nsection NAME-ready await_ready {image}\n"]
    for case in CASES:
        step = _CASE.replace("OPTIONS", case.options).replace("CASE", case.name)
        step = step.replace("sed -i 'CHANGE'", f"sed -i '{case.change}'" if case.change else "true")
        steps.append(step.replace("BEFORE", case.before).replace("AFTER", case.after))
    return "".join((*steps, _MOUNTED, f"pod_stop {image}\n")).replace("NAME", image)


@pytest.fixture(scope="module")
def shown(client_node: ClientNode) -> Shown:
    """The output of every mount, with a client of either major."""
    pods = {name: client_node.wish(name) for name in (NEW, OLD)}
    return client_node.run(pods, "".join(scenario(name) for name in (NEW, OLD)))


def named(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("image", [NEW, OLD])
@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_mount_is_refused_with_one_error_and_its_reason_in_the_kernel_log(
    shown: Shown, case: Case, image: str
) -> None:
    assert shown.status(f"{image}-ready") == 0, shown.text(f"{image}-ready")
    name = f"{image}-{case.name}"
    words = case.words(image)
    if words:
        assert shown.status(name) != 0, shown.text(f"{name}-log")
        assert "Operation canceled" in shown.text(name)
        assert words in shown.text(f"{name}-log")
    else:
        assert shown.status(name) == 0, shown.text(f"{name}-log")


@pytest.mark.parametrize("image", [NEW, OLD])
def test_a_mount_has_threads_files_and_a_port_of_its_own_until_it_is_gone(shown: Shown, image: str) -> None:
    state = shown.lines(f"{image}-state")
    assert state[:4] == ("beegfs_AckMgr", "beegfs_DGramLis", "beegfs_Flusher", "beegfs_XNodeSyn")
    assert {"config", "mgmt_nodes", "meta_nodes", "storage_nodes", "client_info"} <= set(state)
    assert "beegfs_nodev /mnt beegfs rw," in state[-1]
    assert "cfgFile=/beegfs-client.conf,sysMgmtdHost=192.0.2.2" in state[-1]
    assert shown.status(f"{image}-rmmod") != 0
    assert "Operation canceled" in shown.text(f"{image}-port")
    assert [line for line in shown.lines(f"{image}-left") if "No such file" not in line] == []


@pytest.mark.parametrize("image", [NEW, OLD])
def test_the_template_as_it_is_mounts_nothing(shown: Shown, image: str) -> None:
    assert shown.status(f"{image}-template") != 0
    assert "Operation canceled" in shown.text(f"{image}-template")
