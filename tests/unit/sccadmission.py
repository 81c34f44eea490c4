"""OpenShift's admission by SecurityContextConstraints: which SCC a pod is given, and what that makes of the pod.

Written anew from the rules in openshift/apiserver-library-go, pkg/securitycontextconstraints: util/sort/bypriority.go
and byrestrictions.go (the order), sccadmission/admission.go (the first that fits is taken, and may change the pod;
`openshift.io/required-scc` leaves that one alone), sccmatching/provider.go, matcher.go and checks.go, user/, selinux/,
group/, capabilities/ and seccomp/ (what is filled in and what is refused). Left out, because no pod here has them: flex
volumes, ephemeral containers, profiles of seccomp in annotations, and groups of containers.
"""

from __future__ import annotations

import copy
from typing import Any

Object = dict[str, Any]

# What OpenShift notes at every namespace: the start and end of its user ids, and its SELinux level.
UIDS = (1_000_700_000, 1_000_709_999)
LEVEL = "s0:c26,c20"
_STRATEGIES = {"RunAsAny": 40_000, "MustRunAsNonRoot": 30_000, "MustRunAsRange": 20_000, "MustRunAs": 10_000}
_TRIVIAL = {"secret", "configMap", "emptyDir", "downwardAPI", "projected", "none"}
_SECCOMP = {"RuntimeDefault": "runtime/default", "Unconfined": "unconfined"}


def score(scc: Object) -> int:
    """How much an SCC allows, in points; of SCCs of one priority the one with the fewest is tried first."""
    volumes, allowed, drop = (
        set(scc.get(key) or ()) for key in ("volumes", "allowedCapabilities", "requiredDropCapabilities")
    )
    capabilities = 5_000 + 300 * len(scc.get("defaultAddCapabilities") or ())
    capabilities += 4_000 if allowed & {"*", "ALL"} else 10 * len(allowed)
    capabilities -= 3_000 if "ALL" in drop else 50 * len(drop)
    return (
        1_600_000 * bool(scc.get("allowPrivilegedContainer"))
        + 800_000 * bool(scc.get("allowHostPorts"))
        + 400_000 * bool(scc.get("allowHostNetwork"))
        + (200_000 if volumes & {"hostPath", "*"} else 100_000 if volumes - _TRIVIAL else 0)
        + _STRATEGIES[scc["runAsUser"]["type"]]
        + _STRATEGIES[scc["seLinuxContext"]["type"]]
        + min(max(capabilities, 0), 9_999)
    )


def in_order(sccs: list[Object]) -> list[Object]:
    """The order in which SCCs are tried."""
    return sorted(sccs, key=lambda scc: (-(scc.get("priority") or 0), score(scc), scc["metadata"]["name"]))


def admit(pod: Object, sccs: list[Object]) -> tuple[str, Object] | None:
    """The name of the SCC that a new pod is given, and the pod as that leaves it; nothing if none fits.

    Args:
        pod: annotations, if any, and spec.
        sccs: those of the cluster that the pod's account, or who makes the pod, may use.
    """
    required = pod.get("annotations", {}).get("openshift.io/required-scc")
    for scc in in_order([scc for scc in sccs if required in {None, scc["metadata"]["name"]}]):
        changed = filled_in(scc, pod)
        if not refusals(scc, changed):
            return scc["metadata"]["name"], changed
    return None


def _containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def _selinux(scc: Object) -> Object:
    stated = scc["seLinuxContext"].get("seLinuxOptions") or {}
    return {**stated, "level": stated.get("level") or LEVEL}


def _uids(scc: Object) -> tuple[int, int]:
    if scc["runAsUser"]["type"] == "MustRunAs":
        return scc["runAsUser"]["uid"], scc["runAsUser"]["uid"]
    return scc["runAsUser"].get("uidRangeMin", UIDS[0]), scc["runAsUser"].get("uidRangeMax", UIDS[1])


def _groups(scc: Object, key: str) -> list[tuple[int, int]]:
    stated = [(each["min"], each["max"]) for each in scc.get(key, {}).get("ranges", ())]
    return stated or [(UIDS[0], UIDS[0] if key == "fsGroup" else UIDS[1])]


def _must(scc: Object, key: str) -> bool:
    return bool(scc.get(key, {}).get("type") == "MustRunAs")


def filled_in(scc: Object, pod: Object) -> Object:
    """The pod with what an SCC fills in where the pod states nothing."""
    made = copy.deepcopy(pod)
    context = made["spec"].get("securityContext") or {}
    if _must(scc, "seLinuxContext"):
        context.setdefault("seLinuxOptions", _selinux(scc))
    if _must(scc, "fsGroup"):
        context.setdefault("fsGroup", _groups(scc, "fsGroup")[0][0])
    if _must(scc, "supplementalGroups"):
        context.setdefault("supplementalGroups", [_groups(scc, "supplementalGroups")[0][0]])
    profiles = [profile for profile in scc.get("seccompProfiles") or () if profile != "*"]
    if profiles:
        name = profiles[0].removeprefix("localhost/")
        own = {"type": "Localhost", "localhostProfile": name} if name != profiles[0] else {"type": "RuntimeDefault"}
        context.setdefault("seccompProfile", own)
    if context:
        made["spec"]["securityContext"] = context
    for container in _containers(made):
        own = _container(scc, context, container.get("securityContext") or {})
        if own:
            container["securityContext"] = own
    return made


def _container(scc: Object, pod: Object, own: Object) -> Object:
    """What becomes of a container's securityContext; what it does not state, its pod's counts."""
    strategy = scc["runAsUser"]["type"]
    if {**pod, **own}.get("runAsUser") is None and strategy in {"MustRunAs", "MustRunAsRange"}:
        own["runAsUser"] = _uids(scc)[0]
    capabilities = own.get("capabilities") or {}
    add, drop = set(capabilities.get("add", ())), set(capabilities.get("drop", ()))
    more = (set(scc.get("defaultAddCapabilities") or ()) - drop) | add
    less = set(scc.get("requiredDropCapabilities") or ()) | drop
    if (more, less) != (add, drop):
        own["capabilities"] = {key: sorted(names) for key, names in (("add", more), ("drop", less)) if names}
    both = {**pod, **own}
    unstated = both.get("runAsUser") is None and strategy == "MustRunAsNonRoot"
    if both.get("runAsNonRoot") is None and (both.get("runAsUser") or unstated):
        own["runAsNonRoot"] = True
    if scc.get("readOnlyRootFilesystem"):
        own.setdefault("readOnlyRootFilesystem", True)
    default = scc.get("defaultAllowPrivilegeEscalation")
    if default is not None and not own.get("privileged") and "CAP_SYS_ADMIN" not in add:
        own.setdefault("allowPrivilegeEscalation", default)
    if scc.get("allowPrivilegeEscalation", True) is False:
        own.setdefault("allowPrivilegeEscalation", False)
    return own


def refusals(scc: Object, pod: Object) -> list[str]:
    """What an SCC does not allow a pod, once it is filled in."""
    spec, context = pod["spec"], pod["spec"].get("securityContext") or {}
    found = [key for key in ("hostPID", "hostIPC", "hostNetwork") if spec.get(key) and not scc.get(f"allowH{key[1:]}")]
    if scc.get("userNamespaceLevel") == "RequirePodLevel" and spec.get("hostUsers", True):
        found.append("hostUsers")
    for key, groups in (
        ("fsGroup", [context["fsGroup"]] if "fsGroup" in context else []),
        ("supplementalGroups", context.get("supplementalGroups", [])),
    ):
        if _must(scc, key) and not (groups and all(_within(group, _groups(scc, key)) for group in groups)):
            found.append(key)
    if _must(scc, "seLinuxContext") and context.get("seLinuxOptions") != _selinux(scc):
        found.append("pod's seLinuxOptions")
    if not _seccomp_allowed(scc, context):
        found.append("pod's seccompProfile")
    if context.get("sysctls") and "*" in (scc.get("forbiddenSysctls") or ()):
        found.append("sysctls")
    allowed = set(scc.get("volumes") or ())
    for volume in spec.get("volumes", ()):
        (kind,) = (key for key in volume if key != "name")
        # The token of the pod's account, which every pod is given, counts as a secret.
        token = kind == "projected" and any("serviceAccountToken" in each for each in volume[kind]["sources"])
        if not allowed & {"*", kind} and not (token and "secret" in allowed):
            found.append(f"volume {volume['name']}")
    for container in _containers(pod):
        found += [f"{container['name']}: {what}" for what in _container_refusals(scc, context, container)]
    return found


def _container_refusals(scc: Object, pod: Object, container: Object) -> list[str]:
    own = container.get("securityContext") or {}
    both = {**pod, **own}
    found = []
    if own.get("privileged") and not scc.get("allowPrivilegedContainer"):
        found.append("privileged")
    if scc.get("readOnlyRootFilesystem") and not own.get("readOnlyRootFilesystem"):
        found.append("readOnlyRootFilesystem")
    if scc.get("allowPrivilegeEscalation", True) is False and own.get("allowPrivilegeEscalation") is not False:
        found.append("allowPrivilegeEscalation")
    uid, strategy = both.get("runAsUser"), scc["runAsUser"]["type"]
    if strategy in {"MustRunAs", "MustRunAsRange"} and not (uid is not None and _within(uid, [_uids(scc)])):
        found.append("runAsUser")
    if strategy == "MustRunAsNonRoot" and (uid == 0 or (uid is None and not both.get("runAsNonRoot"))):
        found.append("runAsNonRoot")
    if _must(scc, "seLinuxContext") and both.get("seLinuxOptions") != _selinux(scc):
        found.append("seLinuxOptions")
    if not _seccomp_allowed(scc, both):
        found.append("seccompProfile")
    capabilities = own.get("capabilities") or {}
    may = {*(scc.get("allowedCapabilities") or ()), *(scc.get("defaultAddCapabilities") or ())}
    if "*" not in may:
        found += [f"capability {name}" for name in capabilities.get("add", ()) if name not in may]
        drop = set(capabilities.get("drop", ()))
        found += [f"keeps {name}" for name in scc.get("requiredDropCapabilities") or () if name not in drop]
    if any(port.get("hostPort") for port in container.get("ports", ())) and not scc.get("allowHostPorts"):
        found.append("hostPort")
    return found


def _within(number: int, ranges: list[tuple[int, int]]) -> bool:
    return any(low <= number <= high for low, high in ranges)


def _seccomp_allowed(scc: Object, context: Object) -> bool:
    profiles = scc.get("seccompProfiles") or ()
    stated = context.get("seccompProfile")
    if stated is None:
        return not profiles or "*" in profiles
    name = _SECCOMP.get(stated["type"]) or f"localhost/{stated.get('localhostProfile')}"
    return "*" in profiles or name in profiles
