# The package writes its own version, and its fault if it has one, over this file.
BEEGFS_VERSION = 0.98.0
