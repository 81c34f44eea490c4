"""OpenShift's admission by SecurityContextConstraints: the SCC that a pod is given, and its changes of the pod.

Written from the rules in openshift/apiserver-library-go, pkg/securitycontextconstraints: util/sort/bypriority.go
and byrestrictions.go (the order), sccadmission/admission.go (the first that fits is taken, and may change the pod;
`openshift.io/required-scc` leaves that one alone), sccmatching/provider.go, matcher.go and checks.go, user/, selinux/,
group/, capabilities/ and seccomp/ (defaults and refusals). Left out, because no pod here has them: flex
volumes, ephemeral containers, profiles of seccomp in annotations, and groups of containers.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Namespace:
    """OpenShift's annotations of a namespace: user ids, groups (each from and to), and SELinux level."""

    uids: tuple[int, int] = (1_000_700_000, 1_000_709_999)
    groups: tuple[int, int] = (1_000_700_000, 1_000_709_999)
    level: str = "s0:c26,c20"


@dataclass(frozen=True)
class Weights:
    """The points for an SCC's permissions on the host."""

    privileged: int
    ports: int
    network: int
    host_volumes: int
    other_volumes: int


ANY = Namespace()
# byrestrictions.go exists with these weights: as it is now, and as it was before it could tell why one SCC comes before
# another. Of vendor/github.com/openshift/apiserver-library-go, as OpenShift builds it into Kubernetes, there are copies
# of both (at dc4b1016980a and 109af168d466). The still older ones of openshift/origin, for OpenShift 3, are left out:
# that has no driver toolkit.
NOW = Weights(1_600_000, 800_000, 400_000, 200_000, 100_000)
EARLIER = Weights(1_000_000, 400_000, 200_000, 100_000, 50_000)
_STRATEGIES = {"RunAsAny": 40_000, "MustRunAsNonRoot": 30_000, "MustRunAsRange": 20_000, "MustRunAs": 10_000}
_TRIVIAL = {"secret", "configMap", "emptyDir", "downwardAPI", "projected", "none"}
_SECCOMP = {"RuntimeDefault": "runtime/default", "Unconfined": "unconfined"}


def volume_points(scc: Object, weights: Weights = NOW) -> int:
    """Return the points for an SCC's volumes."""
    volumes = set(scc.get("volumes") or ())
    if volumes & {"hostPath", "*"}:
        return weights.host_volumes
    return weights.other_volumes if volumes - _TRIVIAL else 0


def capability_points(scc: Object) -> int:
    """Return the points for an SCC's capabilities; `ALL` in whatever case."""
    allowed, drop, add = (
        [name.upper() for name in scc.get(key) or ()]
        for key in ("allowedCapabilities", "requiredDropCapabilities", "defaultAddCapabilities")
    )
    points = 5_000 + 300 * len(add)
    points += 4_000 if {"*", "ALL"} & {*allowed} else 10 * len(allowed)
    points -= 3_000 if "ALL" in drop else 50 * len(drop)
    return min(max(points, 0), 9_999)


def score(scc: Object, weights: Weights = NOW) -> int:
    """Return an SCC's points; of SCCs of one priority the one with the fewest is tried first."""
    return (
        weights.privileged * bool(scc.get("allowPrivilegedContainer"))
        + weights.ports * bool(scc.get("allowHostPorts"))
        + weights.network * bool(scc.get("allowHostNetwork"))
        + volume_points(scc, weights)
        + sum(_STRATEGIES.get(scc.get(key, {}).get("type"), 0) for key in ("runAsUser", "seLinuxContext"))
        + capability_points(scc)
    )


def in_order(sccs: list[Object], weights: Weights = NOW) -> list[Object]:
    """Return the SCCs in the order in which they are tried."""
    return sorted(sccs, key=lambda scc: (-(scc.get("priority") or 0), score(scc, weights), scc["metadata"]["name"]))


def admit(
    pod: Object, sccs: list[Object], namespace: Namespace = ANY, weights: Weights = NOW
) -> tuple[str, Object] | None:
    """Return the name of the SCC that a new pod is given and the changed pod, or None if no SCC fits.

    Args:
        pod: annotations, if any, and spec.
        sccs: those of the cluster that the pod's account, or who makes the pod, may use.
        namespace: of the pod.
        weights: of the release, which order the SCCs.
    """
    required = pod.get("annotations", {}).get("openshift.io/required-scc")
    for scc in in_order([scc for scc in sccs if required in {None, scc["metadata"]["name"]}], weights):
        changed = filled_in(scc, pod, namespace)
        if not refusals(scc, changed, namespace):
            return scc["metadata"]["name"], changed
    return None


def _containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def _selinux(scc: Object, namespace: Namespace) -> Object:
    stated = scc["seLinuxContext"].get("seLinuxOptions") or {}
    return {**stated, "level": stated.get("level") or namespace.level}


def _uids(scc: Object, namespace: Namespace) -> tuple[int, int]:
    if scc["runAsUser"]["type"] == "MustRunAs":
        return scc["runAsUser"]["uid"], scc["runAsUser"]["uid"]
    low, high = namespace.uids
    return scc["runAsUser"].get("uidRangeMin", low), scc["runAsUser"].get("uidRangeMax", high)


def _groups(scc: Object, key: str, namespace: Namespace) -> list[tuple[int, int]]:
    stated = [(each["min"], each["max"]) for each in scc.get(key, {}).get("ranges", ())]
    low, high = namespace.groups
    return stated or [(low, low if key == "fsGroup" else high)]


def _must(scc: Object, key: str) -> bool:
    return bool(scc.get(key, {}).get("type") == "MustRunAs")


def filled_in(scc: Object, pod: Object, namespace: Namespace = ANY) -> Object:
    """Return the pod with an SCC's defaults where the pod states nothing."""
    made = copy.deepcopy(pod)
    context = made["spec"].get("securityContext") or {}
    if _must(scc, "seLinuxContext"):
        context.setdefault("seLinuxOptions", _selinux(scc, namespace))
    if _must(scc, "fsGroup"):
        context.setdefault("fsGroup", _groups(scc, "fsGroup", namespace)[0][0])
    if _must(scc, "supplementalGroups"):
        context.setdefault("supplementalGroups", [_groups(scc, "supplementalGroups", namespace)[0][0]])
    profiles = [profile for profile in scc.get("seccompProfiles") or () if profile != "*"]
    if profiles:
        name = profiles[0].removeprefix("localhost/")
        own = {"type": "Localhost", "localhostProfile": name} if name != profiles[0] else {"type": "RuntimeDefault"}
        context.setdefault("seccompProfile", own)
    if context:
        made["spec"]["securityContext"] = context
    for container in _containers(made):
        own = _container(scc, context, container.get("securityContext") or {}, namespace)
        if own:
            container["securityContext"] = own
    return made


def _container(scc: Object, pod: Object, own: Object, namespace: Namespace) -> Object:
    """Return a container's securityContext with defaults; where it states nothing, the pod's counts."""
    strategy = scc["runAsUser"]["type"]
    if {**pod, **own}.get("runAsUser") is None and strategy in {"MustRunAs", "MustRunAsRange"}:
        own["runAsUser"] = _uids(scc, namespace)[0]
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


def refusals(scc: Object, pod: Object, namespace: Namespace = ANY) -> list[str]:
    """Return the reasons for which an SCC refuses a pod with its defaults."""
    spec, context = pod["spec"], pod["spec"].get("securityContext") or {}
    found = [key for key in ("hostPID", "hostIPC", "hostNetwork") if spec.get(key) and not scc.get(f"allowH{key[1:]}")]
    if scc.get("userNamespaceLevel") == "RequirePodLevel" and spec.get("hostUsers", True):
        found.append("hostUsers")
    for key, groups in (
        ("fsGroup", [context["fsGroup"]] if "fsGroup" in context else []),
        ("supplementalGroups", context.get("supplementalGroups", [])),
    ):
        if _must(scc, key) and not (groups and all(_within(group, _groups(scc, key, namespace)) for group in groups)):
            found.append(key)
    if _must(scc, "seLinuxContext") and context.get("seLinuxOptions") != _selinux(scc, namespace):
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
        found += [
            f"{container.get('name')}: {what}" for what in _container_refusals(scc, context, container, namespace)
        ]
    return found


def _container_refusals(scc: Object, pod: Object, container: Object, namespace: Namespace) -> list[str]:
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
    if strategy in {"MustRunAs", "MustRunAsRange"} and not (uid is not None and _within(uid, [_uids(scc, namespace)])):
        found.append("runAsUser")
    if strategy == "MustRunAsNonRoot" and (uid == 0 or (uid is None and not both.get("runAsNonRoot"))):
        found.append("runAsNonRoot")
    if _must(scc, "seLinuxContext") and both.get("seLinuxOptions") != _selinux(scc, namespace):
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
