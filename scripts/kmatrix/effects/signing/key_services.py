"""Signing with a key that a token (PKCS#11) or a key service keeps, by securesystemslib.

The schemes and the form of each address are its own (secure-systems-lab/securesystemslib, securesystemslib/signer). A
service needs a package that is not installed with this program.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import RSA_PKCS1V15_SHA256, Signer, SSlibKey

from kmatrix.values.errors import InputError, KmatrixError, UnreachableError

# The extra of securesystemslib that each scheme needs.
_EXTRAS = {"hsm": "hsm", "awskms": "awskms", "gcpkms": "gcpkms", "azurekms": "azurekms", "hv": "vault"}
# A token has one login for all sessions of a process, and does not count logins (PKCS#11, C_Login): two keys of one
# token, of which one replaces the other, must not be used at the same time either.
_LOCK = threading.Lock()


def signed_by_service(address: str, public: PublicKeyTypes, secret: str, variable: str) -> Callable[[bytes], bytes]:
    """Return a function that signs with a key that a service keeps; it may be called from several threads.

    Args:
        address: of the key, as securesystemslib writes it: `hsm:2?label=TOKEN`, `awskms:KEY`, `gcpkms:…`, `hv:…`.
        public: the public half.
        secret: the PIN or password, if the service needs one.
        variable: the environment variable that has it, for messages.

    Raises:
        InputError: a package is missing, the address or the key is not what the service takes, or there is no secret.
            The function raises it, too, if the service asks for the secret later.
        UnreachableError: of the function: the service does not sign.
    """
    scheme = address.partition(":")[0]

    def secret_of(name: str) -> str:
        if not secret:
            raise InputError(
                f"image_signing: the key at {address} needs a {name}, and {variable} is not set",
                f"Set {variable} to it; in CI, from a secret.",
            )
        return secret

    # By default, securesystemslib's scheme for RSA is PSS, which CRI-O does not verify.
    key = SSlibKey.from_crypto(public, scheme=RSA_PKCS1V15_SHA256 if isinstance(public, RSAPublicKey) else None)
    try:
        signer = Signer.from_priv_key_uri(address, key, secret_of)
    except UnsupportedLibraryError as error:
        extra = _EXTRAS.get(scheme, scheme)
        raise InputError(
            f"image_signing: the key at {address} needs a package that is not installed ({error})",
            f"Install it: pip install 'securesystemslib[{extra}]'.",
        ) from error
    except KmatrixError:
        raise
    except ValueError as error:
        raise InputError(
            f"image_signing: key: {address} is not accepted: {error}",
            "Write it as the documentation of securesystemslib has it for this kind of service.",
        ) from error
    except Exception as error:
        raise _refused(address, error, secret) from error

    def sign(payload: bytes) -> bytes:
        try:
            with _LOCK:
                return bytes.fromhex(signer.sign(payload).signature)
        except KmatrixError:
            raise
        except Exception as error:
            # Each service has exceptions of its own.
            raise _refused(address, error, secret) from error

    return sign


def _refused(address: str, error: Exception, secret: str) -> UnreachableError:
    cause = f"{type(error).__name__}: {error}".removesuffix(": ")
    return UnreachableError(
        "key service",
        address,
        cause.replace(secret, "***") if secret else cause,
        "Check that the token or service is there, and that its credentials are set in this environment.",
    )
