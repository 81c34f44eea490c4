"""The fields of a pod that are translated for the node of the tests, and those that are not, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.integration.support.node.pod_volumes import only_known

# Fields that are translated, by where they stand.
_KNOWN = {
    "pod": "containers initContainers volumes hostNetwork hostPID hostIPC terminationGracePeriodSeconds"
    " securityContext",
    "container": "name image command args env volumeMounts securityContext workingDir readinessProbe lifecycle"
    " terminationMessagePath",
    "securityContext": "capabilities runAsUser runAsGroup runAsNonRoot readOnlyRootFilesystem privileged"
    " allowPrivilegeEscalation seccompProfile",
    "capabilities": "add drop",
    "seccompProfile": "type",
    "env": "name value valueFrom",
    "lifecycle": "preStop",
    "probe": "exec",
    "exec": "command",
}
# Fields that are not, each for its reason.
_NOT_TRANSLATED = {
    "pod": (
        # The test decides node, time and account.
        "tolerations nodeSelector affinity priorityClassName schedulerName serviceAccountName serviceAccount"
        " automountServiceAccountToken imagePullSecrets"
        # The pod lives as long as the test lets it.
        " restartPolicy"
        # There are no services, and the node has no names to resolve.
        " enableServiceLinks dnsPolicy"
    ),
    "container": (
        # The image is there. The guest has no limits, and nothing listens but on the node's own network.
        "imagePullPolicy resources ports"
        # Both run as `readinessProbe` does, when the test says so.
        " startupProbe"
        # A kubelet would take the log's end where there is no message.
        " terminationMessagePolicy"
    ),
    # The guest's kernel has no SELinux.
    "securityContext": "seLinuxOptions",
    # The test decides when to probe, and how long to wait.
    "probe": "periodSeconds timeoutSeconds failureThreshold successThreshold initialDelaySeconds",
}


def known_fields(what: str, stated: Mapping[str, Any]) -> None:
    """Refuse a field that is in neither list."""
    fields = f"{_KNOWN[what]} {_NOT_TRANSLATED.get(what, '')}"
    only_known(what, stated, frozenset(fields.split()))
