"""Child processes, signals, and the standard streams of this process."""
