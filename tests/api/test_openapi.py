"""What /openapi.json says is true: schemathesis makes calls from it, and checks each reply against it."""

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS, load_all_checks

from tests.support.servers import AUTHORISED, Start
from tests.support.waiting import TIMEOUT_SECONDS

# No `positive_data_acceptance`: a picture that fits the schema may be blank.
NAMES = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
]

# Few examples, and the same ones each time: more find more, and take longer.
EXAMPLES = settings(
    max_examples=20,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_replies_are_as_documented(start_server: Start) -> None:
    server = start_server(DIGITS_WORKER="external", DIGITS_MAX_BODY="1MiB")
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) >= 16
    load_all_checks()
    checks = CHECKS.get_by_names(NAMES)
    for operation in operations:

        @EXAMPLES
        @given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=AUTHORISED, timeout=TIMEOUT_SECONDS, checks=checks)

        check()
