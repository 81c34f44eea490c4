"""Keys, and what is signed and verified with them."""
