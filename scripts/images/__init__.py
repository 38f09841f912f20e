"""Builds the container images, also where no container engine runs and no image can be pulled."""
