"""Inference: the runtime, ensembles and cascades, batching, and the version that serves."""
