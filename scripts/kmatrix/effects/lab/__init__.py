"""What the lab alone needs of the outside world: servers in containers, Debian's archive."""
