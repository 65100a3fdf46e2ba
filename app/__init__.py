"""The web service: pictures of handwritten digits in, digits with probabilities out."""

import os
import sys

# Set before NumPy is imported. Matrix products are small here, so OpenBLAS's threads would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# With this package OpenVINO reports every import and conversion to its makers over the network, and keeps an identity
# in the home folder. OpenVINO works without it.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None means: cannot be imported
