"""The build in a cluster, as OpenShift's BuildConfig has it: its Dockerfile, its context's files, its arguments."""

from __future__ import annotations

from kmatrix.decide.render import TEMPLATE, copied_files, render_dockerfile
from kmatrix.values.errors import InputError
from kmatrix.values.matrix import Profile
from kmatrix.values.names import ClientVersion
from kmatrix.values.recipe import KEY_FILE, SOURCE, ImageSource, userland_by_major

# No image has this name: the cluster's driver toolkit takes its place (dockerStrategy.from).
TOOLKIT = "driver-toolkit:of-the-cluster"
_FOLDER = TEMPLATE.rpartition("/")[0]


def in_cluster_dockerfile(source: ImageSource, profile_name: str, profile: Profile) -> str:
    """Render the Dockerfile that a BuildConfig has inlined: the same for every client version and RHEL line.

    Args:
        source: images/beegfs-client.
        profile_name: for the banner.
        profile: says whether the module has RDMA.

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
    """Return the files of the build's context as a ConfigMap's data: text by flat name, those alone that are copied.

    Args:
        source: images/beegfs-client.
        dockerfile: as `in_cluster_dockerfile` gives it.
        package_key: the public key that signs the packages, armored.

    Raises:
        InputError: a file is not there, is no text, or its name cannot be a ConfigMap's key.
    """
    files = {**copied_files(source, dockerfile, supplied=(KEY_FILE,)), KEY_FILE: package_key}
    return {name: _text(name, content) for name, content in sorted(files.items())}


def in_cluster_build_args(profile: Profile, client: ClientVersion, fingerprint: str) -> dict[str, str]:
    """Return the build's arguments; CLIENT_VERSION is the one an admin changes.

    Args:
        profile: where the packages are.
        client: which packages.
        fingerprint: of the key that signs them.
    """
    return {"CLIENT_VERSION": str(client), "PACKAGES": profile.packages, "KEY_FINGERPRINT": fingerprint}


def _text(name: str, content: bytes) -> str:
    if "/" in name:
        raise InputError(f"{_FOLDER}/{name}: a ConfigMap cannot hold a folder", f"Put it right below {_FOLDER}.")
    try:
        return content.decode()
    except UnicodeDecodeError:
        hint = "Armor the key: `gpg --enarmor`." if name == KEY_FILE else f"Only text belongs in {_FOLDER}."
        raise InputError(f"{name}: a ConfigMap cannot hold it, it is no text", hint) from None
