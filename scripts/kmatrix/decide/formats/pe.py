"""Read what a kernel image says about its own signature: the certificate table of a PE file."""

from __future__ import annotations

import struct

# PE Format (Microsoft): the address of the header, the magic numbers of its optional header, and where in that the
# table of directories begins. The fifth directory is the certificate table, by its place in the file.
_ADDRESS_AT, _OPTIONAL_AT, _DIRECTORY, _CERTIFICATES = 0x3C, 24, 8, 4
_DIRECTORIES_AT = {0x10B: 96, 0x20B: 112}


def is_signed(image: bytes) -> bool:
    """Return whether a PE image has a signature, of whatever key; one that is no PE image has none."""
    try:
        (header,) = struct.unpack_from("<I", image, _ADDRESS_AT)
        if not image.startswith(b"MZ") or image[header : header + 4] != b"PE\0\0":
            return False
        optional = header + _OPTIONAL_AT
        (magic,) = struct.unpack_from("<H", image, optional)
        if magic not in _DIRECTORIES_AT:
            return False
        table = optional + _DIRECTORIES_AT[magic]
        (count,) = struct.unpack_from("<I", image, table - 4)
        place, size = struct.unpack_from("<II", image, table + _CERTIFICATES * _DIRECTORY)
    except struct.error:
        return False
    return bool(count > _CERTIFICATES and 0 < size <= len(image) - place)
