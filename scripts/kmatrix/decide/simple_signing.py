"""The payload of an image signature: "simple signing", in the form that cosign writes."""

from __future__ import annotations


class MalformedPayloadError(ValueError):
    """The bytes are no payload of a signature of that image; the message has the reason."""


def payload(reference: str, digest: str) -> bytes:
    """Return the payload that says: the image with this digest has this name.

    Args:
        reference: the repository that nodes pull the image from, as HOST/PATH.
        digest: of the image's manifest or list.
    """
    raise NotImplementedError


def check(signed: bytes, reference: str, digest: str) -> None:
    """Refuse a payload that is about another image or another repository.

    Raises:
        MalformedPayloadError: it is.
    """
    raise NotImplementedError
