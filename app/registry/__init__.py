"""The versions on disk and their manifests. Standard library only, since the service and training share it."""
