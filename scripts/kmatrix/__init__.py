"""Prebuilt BeeGFS client images for OpenShift: discover, plan, render, build, check, publish."""
