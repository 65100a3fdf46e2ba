"""Offline training of the networks that Digits serves."""

import sys

# With this package OpenVINO reports every import and conversion to its makers over the network, and notes in the home
# folder who we are. OpenVINO does without it where it is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as the import system has it
