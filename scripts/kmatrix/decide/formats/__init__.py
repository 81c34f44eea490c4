"""Read files and streams in formats that others define into plain values, or refuse them with the fault."""
