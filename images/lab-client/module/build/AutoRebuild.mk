# Rebuilds for the running kernel: run at the start of a service if a package has set its flag.
auto_rebuild:
	$(MAKE) clean
	$(MAKE) install

.PHONY: auto_rebuild
