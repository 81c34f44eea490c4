"""The outside world as the lab alone needs it: servers in containers, Debian's package archive."""
