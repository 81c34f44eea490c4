"""Formats of files and streams that others define: read into plain values, or refused with what is wrong."""
