# Detects the features of this kernel; "make features" prints them.
FEATURE_DETECT = ./feature-detect.sh "$(KDIR)" "$(KSRCDIR)"

features:
	@$(FEATURE_DETECT)

.PHONY: features
