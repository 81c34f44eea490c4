"""Virtual machines: the machine itself, and the files it boots from."""
