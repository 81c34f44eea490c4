# What a service does at its start when a package left its flag: build anew for the running kernel.
auto_rebuild:
	$(MAKE) clean
	$(MAKE) install

.PHONY: auto_rebuild
