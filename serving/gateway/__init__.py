"""The gateway: an HTTP service for uploads, the work list, readings and images."""
