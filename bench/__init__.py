"""Measures kmatrix against its aims, on this machine."""
