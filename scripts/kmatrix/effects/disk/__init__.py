"""Files and folders of the checkout: read with clear errors, written atomically."""
