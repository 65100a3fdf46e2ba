"""What several test modules need, a module for each kind of thing."""

# Until all tests import from the modules themselves.
from tests.support.calls import metric as metric
from tests.support.images import SEVEN as SEVEN
from tests.support.processes import children as children
from tests.support.processes import listens as listens
from tests.support.waiting import TIMEOUT_SECONDS
from tests.support.waiting import wait_for as wait_for

PATIENCE = TIMEOUT_SECONDS
