"""The former place of tests/support/versions.py, until all tests import from there."""

from tests.support.versions import add as add
from tests.support.versions import answer as answer
from tests.support.versions import describe as describe
from tests.support.versions import point as point
from tests.support.versions import shipped as shipped
