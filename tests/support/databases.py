"""The databases that tests run on."""

import os

POSTGRES = os.environ.get("DIGITS_TEST_POSTGRES")  # URL of a server where databases can be made
