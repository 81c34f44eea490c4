"""Where this program serves pages: on this machine's loopback address alone."""

from __future__ import annotations

HOST = "127.0.0.1"
DEFAULT_PORT = 8000
