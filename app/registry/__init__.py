"""Versions on disk and their manifests. Standard library only: the service and training share it."""
