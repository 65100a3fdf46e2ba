"""The web service: pictures of handwritten digits in, digits with probabilities out."""

import os

# Set before NumPy is imported. Matrix products are small here, so OpenBLAS's threads would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
