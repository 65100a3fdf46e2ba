"""The former place of tests/support/images.py, until all tests import from there."""

from tests.support.images import IMAGES as IMAGES
from tests.support.images import STROKES as STROKES
from tests.support.images import base64_of as base64_of
from tests.support.images import draw as draw
from tests.support.images import encode as encode
from tests.support.images import handwritten as handwritten
from tests.support.images import write_idx as write_idx
