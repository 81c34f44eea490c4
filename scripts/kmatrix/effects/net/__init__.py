"""HTTP, and services that use it: the update graph and package roots."""
