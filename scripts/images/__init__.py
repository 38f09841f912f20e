"""Builds the container images, even without a running container engine or access to a registry."""
