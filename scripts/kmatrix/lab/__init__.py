"""The lab: an OpenShift-shaped release service on this machine, made of real parts."""
