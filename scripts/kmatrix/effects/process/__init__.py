"""Programs, signals and outputs of this process and its children."""
