"""bench: measures the tool against its aims, on this machine."""
