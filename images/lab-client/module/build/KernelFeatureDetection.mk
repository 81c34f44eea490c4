# How the build asks what this kernel has; "make features" shows the answer.
FEATURE_DETECT = ./feature-detect.sh "$(KDIR)" "$(KSRCDIR)"

features:
	@$(FEATURE_DETECT)

.PHONY: features
