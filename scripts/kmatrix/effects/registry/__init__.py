"""Image registries over their HTTP interface: reading, writing, authorization."""
