"""Prepare a build in a cluster for OpenShift's BuildConfig: Dockerfile, files of the context, build arguments."""

from __future__ import annotations

from kmatrix.decide.render import TEMPLATE, copied_files, render_dockerfile
from kmatrix.values.errors import InputError
from kmatrix.values.matrix import Profile
from kmatrix.values.names import ClientVersion
from kmatrix.values.recipe import KEY_FILE, SOURCE, ImageSource, userland_by_major

# No image has this name: the cluster's driver toolkit replaces it (dockerStrategy.from).
TOOLKIT = "driver-toolkit:of-the-cluster"
_FOLDER = TEMPLATE.rpartition("/")[0]


def in_cluster_dockerfile(source: ImageSource, profile_name: str, profile: Profile) -> str:
    """Render the Dockerfile that a BuildConfig has inlined: the same for every client version and RHEL major.

    Args:
        source: images/beegfs-client.
        profile_name: for the banner.
        profile: decides whether the module has RDMA.

    Raises:
        InputError: the template is broken, or a value could change the meaning of the Dockerfile.
    """
    return render_dockerfile(
        source.template,
        in_cluster=True,
        profile=profile_name,
        toolkit=TOOLKIT,
        rdma=profile.rdma,
        userland_packages=userland_by_major(),
        source_package=SOURCE,
    )


def in_cluster_files(source: ImageSource, dockerfile: str, package_key: bytes) -> dict[str, str]:
    """Return the files of the build's context that are copied, as a ConfigMap's data: text by flat name.

    Args:
        source: images/beegfs-client.
        dockerfile: the result of `in_cluster_dockerfile`.
        package_key: the public key that signs the packages, armored.

    Raises:
        InputError: a file is missing or is not text, or its name cannot be a ConfigMap's key.
    """
    files = {**copied_files(source, dockerfile, supplied=(KEY_FILE,)), KEY_FILE: package_key}
    return {name: _text(name, content) for name, content in sorted(files.items())}


def in_cluster_build_args(profile: Profile, client: ClientVersion, fingerprint: str) -> dict[str, str]:
    """Return the build's arguments; CLIENT_VERSION is the one an admin changes.

    Args:
        profile: has the address of the packages.
        client: the version of the packages.
        fingerprint: that of the key that signs them.
    """
    return {"CLIENT_VERSION": str(client), "PACKAGES": profile.packages, "KEY_FINGERPRINT": fingerprint}


def _text(name: str, content: bytes) -> str:
    if "/" in name:
        raise InputError(f"{_FOLDER}/{name}: a ConfigMap cannot hold a folder", f"Put it directly into {_FOLDER}.")
    try:
        return content.decode()
    except UnicodeDecodeError:
        hint = "Armor the key: `gpg --enarmor`." if name == KEY_FILE else f"Only text belongs in {_FOLDER}."
        raise InputError(f"{name}: a ConfigMap cannot hold it, as it is not text", hint) from None
