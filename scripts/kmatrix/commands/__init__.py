"""The commands, each a few steps over the stages."""
