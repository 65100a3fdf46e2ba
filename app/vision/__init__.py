"""From the bytes of a picture to the 28x28 image that the network reads: pure functions, one straight pipeline.

``pipeline`` calls the steps in order: ``decode`` (bytes to an upright 8-bit picture), ``brightness`` (to one number a
pixel), ``background`` (to how dark each pixel is beside its background), ``segmentation`` (to the digit alone) and
``normalise`` (to 28x28). No step calls another.
"""
