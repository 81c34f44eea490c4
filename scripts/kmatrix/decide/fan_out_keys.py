"""The private keys that the jobs of a plan need, by the environment variables that its profile takes them from."""

from __future__ import annotations

from dataclasses import dataclass

from kmatrix.values.matrix import ENV, Profile


@dataclass(frozen=True)
class JobKeys:
    """The variables of the image key and of the module key; empty where a profile takes none from the environment.

    Jobs that build need both, the job that composes bundles needs that of images, and no other job needs one. `keyless`
    says that both kinds of jobs need an identity of their own too. `next_image` is that of the image key's successor,
    which is needed where the image key is.
    """

    image: str = ""
    module: str = ""
    keyless: bool = False
    next_image: str = ""


NO_KEYS = JobKeys()


def job_keys(profile: Profile) -> JobKeys:
    """Return the variables that a profile takes its private keys from."""
    images, modules = profile.image_signing, profile.module_signing
    return JobKeys(
        image=_variable(images.key if images else None),
        module=_variable(modules.key if modules else None),
        keyless=images is not None and images.keyless,
        next_image=_variable(images.next_key if images else None),
    )


def _variable(source: str | None) -> str:
    return source.removeprefix(ENV) if source and source.startswith(ENV) else ""
