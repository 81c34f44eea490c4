"""Render the components with which nodes demand a signature of published images: a ClusterImagePolicy, or its files.

Its fields: openshift/api, config/v1/types_cluster_image_policy.go and types_image_policy.go. What a node gets of them:
openshift/machine-config-operator, pkg/controller/container-runtime-config/helpers.go. Who reads its files there:
containers/image, docs/containers-policy.json.5.md, containers-registries.d.5.md and signature/policy_eval_sigstore.go.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass

from kmatrix.decide.manifest_templates import Folder, render_template
from kmatrix.values.names import ImageRef

_COMPONENTS = "components/image-policy"
_ROLES = ("master", "worker")
# Hosts that a scope of a ClusterImagePolicy may have (the rules of ImageScope in types_image_policy.go).
_HOST = re.compile(r"(?:[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+|localhost)(?::[0-9]+)?")
_LONGEST_SCOPE = 512


@dataclass(frozen=True)
class ImagePolicy:
    """What nodes are to demand of images of some repositories.

    A policy has one key: several requirements for a repository must all be met, and one requirement has one `keyData`
    (lists of keys in policy.json are newer, and an older reader refuses every image for an unknown field).

    Attributes:
        repositories: where the images are; tags and digests are ignored.
        key_name: the file of the public key, for people.
        pem: the public key.
        accepted: how many keys the profile accepts, this one included.
    """

    repositories: tuple[ImageRef, ...]
    key_name: str
    pem: str
    accepted: int = 1

    @property
    def scopes(self) -> tuple[str, ...]:
        """Each repository once, in the fully expanded form."""
        return tuple(sorted({each.normalized for each in self.repositories}))

    @property
    def has_api(self) -> bool:
        """Whether a ClusterImagePolicy can name the repositories."""
        return all(_HOST.fullmatch(each.partition("/")[0]) and len(each) <= _LONGEST_SCOPE for each in self.scopes)


def is_image_policy(path: str) -> bool:
    """Return whether a file of deploy/ is a source of these components."""
    return path.startswith(_COMPONENTS)


def image_policy(sources: Folder, policy: ImagePolicy) -> dict[str, str]:
    """Return the files of a component for each range of OpenShift releases, by path.

    The API refuses some repositories, such as those of a host without a dot: then there is only one without it.
    """
    values: dict[str, object] = {
        "scopes": policy.scopes,
        "key_name": policy.key_name,
        "accepted": policy.accepted,
        "key_data": _base64(policy.pem),
    }
    made: dict[str, str] = {}
    template = f"{_COMPONENTS}/clusterimagepolicy.yaml.j2"
    for folder, version in ((_COMPONENTS, "v1"), (f"{_COMPONENTS}-tech-preview", "v1alpha1")):
        if policy.has_api:
            made[f"{folder}/kustomization.yaml"] = sources[f"{folder}/kustomization.yaml"]
            text = render_template(sources, template, version=version, **values)
            made[f"{folder}/clusterimagepolicy.yaml"] = text
    folder = f"{_COMPONENTS}-machine-config"
    made[f"{folder}/kustomization.yaml"] = sources[f"{folder}/kustomization.yaml"]
    made[f"{folder}/machineconfigs.yaml"] = render_template(
        sources,
        f"{folder}/machineconfigs.yaml.j2",
        roles=_ROLES,
        policy=_data_url(policy_json(policy)),
        registries=_data_url(registries_yaml(policy)),
        **values,
    )
    return made


def policy_json(policy: ImagePolicy) -> str:
    """Return /etc/containers/policy.json: the operator's default, and a requirement for the repositories.

    Its default is in templates/master/01-master-container-runtime/_base/files/policy.yaml of that operator.
    """
    anything = [{"type": "insecureAcceptAnything"}]
    signed = {
        "type": "sigstoreSigned",
        "keyData": _base64(policy.pem),
        "signedIdentity": {"type": "matchRepository"},
    }
    transports = {"docker": {scope: [signed] for scope in policy.scopes}, "docker-daemon": {"": anything}}
    return json.dumps({"default": anything, "transports": transports}, indent=2) + "\n"


def registries_yaml(policy: ImagePolicy) -> str:
    """Return the file in registries.d that has signatures of the repositories looked up beside their images."""
    sections = (f"  {json.dumps(scope)}:\n    use-sigstore-attachments: true\n" for scope in policy.scopes)
    return "docker:\n" + "".join(sections)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _data_url(text: str) -> str:
    return f"data:text/plain;charset=utf-8;base64,{_base64(text)}"
