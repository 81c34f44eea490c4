# A package overwrites this file with its own version, and with its fault if it has one.
BEEGFS_VERSION = 0.98.0
