"""Lists what a repository has and deletes from it, over the registry's HTTP interface.

Protocol: opencontainers/distribution-spec, spec.md ("Content Discovery", "Content Management", "Listing Referrers").
"""

from __future__ import annotations

import requests

from kmatrix.effects.net.faults import hint_for
from kmatrix.effects.registry.auth import refused
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.error_bodies import error_detail, is_error
from kmatrix.effects.registry.pages import INDEX, NO_REFERRERS, NOT_A_LIST
from kmatrix.effects.registry.transport import SERVICE, base_of
from kmatrix.effects.retry import retried
from kmatrix.values.errors import CredentialError, ProtocolError, ToolError, UnreachableError
from kmatrix.values.names import ImageRef

_DELETED = (requests.codes.ok, requests.codes.accepted, requests.codes.no_content)


class RegistryRemover(Registry):
    """Reads repositories completely, and deletes from them; safe to share between threads."""

    def __init__(self, credentials: Credentials) -> None:
        """Open the connection pool, with credentials for all registries."""
        super().__init__(credentials)
        self._credentials = credentials

    def tags(self, ref: ImageRef) -> tuple[str, ...]:
        """Return every tag of a repository, page by page; none if the registry reports that it has no such repository.

        Raises:
            UnreachableError, CredentialError, ProtocolError: they could not be determined completely.
        """
        found: dict[str, None] = {}
        for page in self._pages(ref, "tags/list"):
            # Docker's registry sends null for a repository without tags.
            tags = page.get("tags") or []
            try:
                found.update(dict.fromkeys(ImageRef.parse(f"{ref.repository}:{tag}").tag for tag in tags))
            except (TypeError, ValueError) as error:
                raise ProtocolError(
                    f"{ref.repository}: the list of its tags is malformed: {error}", NOT_A_LIST
                ) from None
        return tuple(found)

    def referrers(self, ref: ImageRef) -> tuple[str, ...]:
        """Return the digests of the manifests that name the digest of `ref` as their subject.

        Empty for a registry without this interface: there a tag names them (spec.md, "Referrers Tag Schema").

        Raises:
            UnreachableError, CredentialError, ProtocolError: they could not be determined.
        """
        found = []
        for page in self._pages(ref, f"referrers/{ref.digest}", NO_REFERRERS, INDEX):
            entries = page.get("manifests") or []
            try:
                found += [ref.with_digest(entry["digest"]).digest for entry in entries]
            except (KeyError, TypeError, ValueError) as error:
                raise ProtocolError(
                    f"{ref}: the registry's list of referrers is malformed ({error!r})", NOT_A_LIST
                ) from error
        return tuple(dict.fromkeys(found))

    def delete(self, ref: ImageRef) -> bool:
        """Delete the manifest with the digest of `ref`, and with it every tag that names it.

        Returns:
            whether it was there.

        Raises:
            UnreachableError: transient faults persisted.
            CredentialError: the registry refuses the credential.
            ToolError: the registry deletes nothing.
            ProtocolError: it answers otherwise.
        """
        return retried(lambda: self._delete(ref), (UnreachableError,))

    def _delete(self, ref: ImageRef) -> bool:
        url = f"{base_of(ref)}/manifests/{ref.digest}"
        response, shown = self._authorized(ref, url, "DELETE")
        with response:
            status = response.status_code
            if status in _DELETED:
                return True
            if status == requests.codes.not_found:
                if not is_error(response):
                    cause = "it answers 404 in a form that no registry uses"
                    raise UnreachableError(SERVICE, url, cause, hint_for(url))
                return False
            detail = error_detail(response)
            if status in (requests.codes.unauthorized, requests.codes.forbidden):
                if shown is None or shown.anonymous:
                    raise refused(ref, self._credentials, detail)
                raise CredentialError(
                    f"{ref.host} does not allow the credential in {self._credentials.source(ref)} to delete from "
                    f"{ref.path}{detail}",
                    "Allow its account to delete images there, or name another file with --authfile or "
                    "KMATRIX_AUTHFILE.",
                )
            if status == requests.codes.method_not_allowed:
                raise ToolError(
                    f"{ref.host} deletes no images over its interface: DELETE answers 405{detail}",
                    "Enable that in the registry's configuration (storage.delete.enabled of Docker's), or remove the "
                    "images that this command lists with the registry's own means.",
                )
            raise ProtocolError(
                f"{ref.repository}@{ref.digest}: DELETE answers {status} {response.reason}{detail}",
                "Read the registry's message; whoever runs the registry finds more in its log.",
            )
