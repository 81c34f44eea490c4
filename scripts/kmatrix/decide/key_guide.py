"""The text of `keys new`: where each new file goes, as commands and lines to copy.

The names are those of docs/ci.md: secrets of .github/workflows/publish.yml, and what the documents of `plan --format`
expect of GitLab and Tekton.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

# The environment variables of a run, as a profile should name them.
IMAGE_KEY_VARIABLE, MODULE_KEY_VARIABLE = "KMATRIX_IMAGE_KEY", "KMATRIX_MODULE_KEY"
# The image key that is to replace another one. It begins as that does: bootstrap keeps it from other programs by that.
NEXT_IMAGE_KEY_VARIABLE = f"{IMAGE_KEY_VARIABLE}_NEXT"
PASSWORD = "_PASSWORD"
# Environments of GitLab's jobs: those that build need both keys, the last one that of images alone.
GITLAB_BUILD, GITLAB_PUBLISH, GITLAB_ANY = "kmatrix/build", "kmatrix/publish", "kmatrix/*"
TEKTON_SECRET, TEKTON_IMAGE_KEY, TEKTON_MODULE_KEY = "kmatrix-keys", "image-key", "module-key"
TEKTON_NEXT_IMAGE_KEY = "next-image-key"
TEKTON_PASSWORD = "-password"
GITHUB_ENVIRONMENT = "publish"
_PUBLIC_FOLDER = "keys"


@dataclass(frozen=True)
class MadeKey:
    """A new private key and what belongs to it.

    Attributes:
        variable: the environment variable that a run takes the private key from.
        private: its file.
        public: the file that the project has, and the profile names.
        section: the profile's key, `image_signing` or `module_signing`.
        names_public: the line below it that names the public file.
        scope: the environment scope of its variable in GitLab.
        encrypted: whether a password encrypts the private key.
        entry: its name in the Secret of Tekton.
    """

    variable: str
    private: str
    public: str
    section: str
    names_public: str
    scope: str
    encrypted: bool
    entry: str

    @property
    def secret(self) -> str:
        """Its name among the secrets of GitHub: IMAGE_KEY."""
        return self.variable.removeprefix("KMATRIX_")


def image_key(private: str, public: str, encrypted: bool) -> MadeKey:
    """Return the key of images, by the names of its two files."""
    names = f"public_keys: [{_PUBLIC_FOLDER}/{public}]"
    return MadeKey(IMAGE_KEY_VARIABLE, private, public, "image_signing", names, GITLAB_ANY, encrypted, TEKTON_IMAGE_KEY)


def module_key(private: str, certificate: str, encrypted: bool) -> MadeKey:
    """Return the key of modules, by the names of its two files."""
    names = f"certificate: {_PUBLIC_FOLDER}/{certificate}"
    return MadeKey(
        MODULE_KEY_VARIABLE, private, certificate, "module_signing", names, GITLAB_BUILD, encrypted, TEKTON_MODULE_KEY
    )


def key_guide(folder: str, keys: Iterable[MadeKey]) -> str:
    """Return where each file of new keys goes.

    Args:
        folder: the folder that has the files.
        keys: the keys that were made.
    """
    keys = tuple(keys)
    return "\n".join(
        [*_unencrypted(keys), *_replacing(keys), *_project(folder, keys), *_services(folder, keys), *_next_steps(keys)]
    )


def _unencrypted(keys: Iterable[MadeKey]) -> Iterable[str]:
    for key in keys:
        if not key.encrypted:
            yield (
                f"{key.private} is not encrypted. To encrypt it, remove its files and run this again with "
                f"{key.variable}{PASSWORD} set."
            )


def _replacing(keys: Iterable[MadeKey]) -> Iterable[str]:
    for key in keys:
        kind = "image" if key.section == "image_signing" else "module"
        yield (
            f"If another {kind} key is in use, do not begin here, but with docs/signing.md#replace-the-{kind}-key: it "
            "has the order of the steps."
        )


def _project(folder: str, keys: tuple[MadeKey, ...]) -> Iterable[str]:
    files = " ".join(_path(folder, key.public) for key in keys)
    yield "\nProject: commit the public half, and name both halves in the profile in matrix.yaml:"
    # Not over a file that is there: without the public half of an earlier key, nothing that it signed is believed.
    yield f"    mkdir -p {_PUBLIC_FOLDER} && cp -i {files} {_PUBLIC_FOLDER}/"
    for key in keys:
        yield f"    {key.section}:\n      key: env:{key.variable}\n      {key.names_public}"
    yield "\nThis machine: the variable may have the path of the file."
    for key in keys:
        yield f"    export {key.variable}={_path(folder, key.private)}"


def _services(folder: str, keys: tuple[MadeKey, ...]) -> Iterable[str]:
    encrypted = [key for key in keys if key.encrypted]
    yield f"\nGitHub: secrets of the environment {GITHUB_ENVIRONMENT}; each password is asked for:"
    for key in keys:
        yield f"    gh secret set {key.secret} --env {GITHUB_ENVIRONMENT} <{_path(folder, key.private)}"
    for key in encrypted:
        yield f"    gh secret set {key.secret}{PASSWORD} --env {GITHUB_ENVIRONMENT}"
    yield "\nGitLab: CI/CD variables, protected; keys of type File, passwords masked:"
    for key in keys:
        yield f"    {key.variable}: the content of {key.private}, environment scope {key.scope}"
    for key in encrypted:
        yield f"    {key.variable}{PASSWORD}, environment scope {key.scope}"
    yield "\nTekton: a Secret in the namespace of the runs; each password from a file:"
    sources = [f"--from-file={key.entry}={_path(folder, key.private)}" for key in keys]
    sources += [f"--from-file={key.entry}{TEKTON_PASSWORD}=FILE" for key in encrypted]
    yield f"    oc create secret generic {TEKTON_SECRET} {' '.join(sources)}"


def _next_steps(keys: tuple[MadeKey, ...]) -> Iterable[str]:
    yield "\nNext: keep a copy of each private key and of its password offline (docs/signing.md has what a loss costs)."
    if any(key.section == "module_signing" for key in keys):
        yield "Before the first build with the module key, enrol modules.der on every node that has Secure Boot on."
    yield "`nox -s build` then signs."


def _path(folder: str, name: str) -> str:
    return shlex.quote(f"{folder}/{name}")
