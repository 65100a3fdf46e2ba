"""The network at work: a runtime, batches for it, and the version that serves."""
