"""Offline training of the networks that Digits serves. Never imports ``app``."""

import sys

# With this package OpenVINO tells its makers of every import and conversion, over the network, and notes in the home
# folder who we are. It does without where it is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as the import system has it
