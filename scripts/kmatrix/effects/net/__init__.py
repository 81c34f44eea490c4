"""HTTP, and the services that are read over it: the update graph and package roots."""
