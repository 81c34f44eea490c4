"""manifests: write the components with which nodes demand signatures, unless nodes would refuse the images for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import SelectedProfile
from kmatrix.decide.image_policy import ImagePolicy, image_policy
from kmatrix.decide.manifest_templates import Folder
from kmatrix.effects.disk.bundles import read_bundles
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.signing.image_keys import PublicKey, named_public_keys
from kmatrix.stages.policy_signatures import Answer, verifying_keys
from kmatrix.stages.publish import IMAGE
from kmatrix.values.bundle import BundleResult
from kmatrix.values.errors import KmatrixError
from kmatrix.values.names import ImageRef

_UNWRITTEN = "manifests: not written: components/image-policy"


@dataclass(frozen=True)
class PolicyFiles:
    """The files of the components, by path; `is_withheld` if there are none because an image lacks a signature."""

    files: Mapping[str, str] = field(default_factory=dict)
    is_withheld: bool = False


def policy_of(call: Invocation, chosen: SelectedProfile, sources: Folder) -> PolicyFiles:
    """Return the components with which nodes demand signatures; no files for a profile without a public key.

    They are about the repositories of the published bundles, or about the profile's target while there are none. The
    registry is asked whether the policy's key verifies these bundles: what it signed, other machines may have changed.

    Raises:
        InputError: the file of a public key is missing or holds none.
    """
    signing, target = chosen.effective.image_signing, chosen.effective.target
    if signing is None or not signing.public_keys:
        return PolicyFiles()
    keys = named_public_keys(signing, call.root)
    key_name = signing.public_keys[0]
    bundles = [each for each in read_bundles(call.bundles_path, chosen.name).values() if each.is_published]
    names = [result.image for result in bundles] or ([f"{target}/{IMAGE}"] if target else [])
    if not names:
        call.say(f"{_UNWRITTEN}: build/bundles.json has no published bundle; run {call.next('bundle', chosen.name)}")
        return PolicyFiles()
    if not _is_safe(call, chosen, key_name, _answers(call, bundles, keys)):
        return PolicyFiles(is_withheld=True)
    policy = ImagePolicy(tuple(map(ImageRef.parse, names)), key_name, keys[key_name].pem, len({*keys.values()}))
    if not policy.has_api:
        call.say(
            f"{_UNWRITTEN}: a ClusterImagePolicy cannot name {' and '.join(policy.scopes)}; "
            "use components/image-policy-machine-config, or a registry with a full host name"
        )
    return PolicyFiles(image_policy(sources, policy))


def _answers(
    call: Invocation, bundles: Iterable[BundleResult], keys: Mapping[str, PublicKey]
) -> Mapping[ImageRef, Answer]:
    images = list(_pulled(bundles))
    if not images:
        return {}
    try:
        registry = Registry(load_credentials(call.authfile))
    except KmatrixError as error:
        return dict.fromkeys(images, error)
    return verifying_keys(registry, images, keys, call.say)


def _pulled(bundles: Iterable[BundleResult]) -> Iterable[ImageRef]:
    """Yield the images that manifests name, and those of a bundle's list: a node verifies that of its architecture."""
    for result in bundles:
        ref = ImageRef.parse(result.image)
        yield from (ref.with_digest(digest) for digest in (result.digest, *(each.digest for each in result.images)))
        yield from map(ImageRef.parse, result.modules.values())


def _is_safe(call: Invocation, chosen: SelectedProfile, key_name: str, answers: Mapping[ImageRef, Answer]) -> bool:
    """Return whether nodes may get the policy; say why not, or that it is not known."""
    known = {ref: found for ref, found in answers.items() if isinstance(found, frozenset)}
    refused = [ref for ref, found in known.items() if key_name not in found]
    if refused:
        ref = refused[0]
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        others = frozenset.intersection(*known.values())
        steps = f"run {call.next('build', chosen.name)} and {call.next('bundle', chosen.name)} with its private key"
        if others:
            steps += f", or move {' or '.join(sorted(others))}, which verifies all of them, to the front of public_keys"
        call.say(
            f"{_UNWRITTEN}: nodes with it would refuse {ref.pinned}{more}: the registry has no signature that "
            f"{key_name}, the first of public_keys, verifies; {steps}"
        )
        return False
    unknown = {ref: found for ref, found in answers.items() if isinstance(found, KmatrixError)}
    if unknown:
        ref, error = next(iter(unknown.items()))
        check = call.next("verify", chosen.name, "--remote", ref.pinned, "--key", key_name)
        call.say(
            f"manifests: warning: it is not known whether {key_name} verifies {len(unknown)} of the images that nodes "
            f"pull: {error.message}. Before you apply components/image-policy, run {check}: nodes refuse an image "
            "without that signature"
        )
    return True
