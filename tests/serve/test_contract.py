"""Whatever is asked, the reply is one that the OpenAPI names, and never a failure of the server."""

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from kvorum.serve.served import Served
from tests.serve.conftest import listening

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
]
OPERATIONS = (
    ("POST", "/v1/answers"),
    ("GET", "/v1/posterior"),
    ("GET", "/v1/tasks/{task}/questions"),
    ("GET", "/v1/plane"),
    ("GET", "/health"),
    ("GET", "/metrics"),
)


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    # So much that no question is too long in tokens, of which a schema cannot tell.
    with listening(served, max_tokens=200_000, max_characters=60, max_choices=4, max_questions=3) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as asked for", "not so"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_reply_is_one_that_the_openapi_names(
    client: httpx.Client, method: str, path: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    operation = schema[path][method]
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.path_parameters or operation.query):
        pytest.skip("it takes nothing that could be wrong")
    statuses = set()

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        response = case.call(base_url=str(client.base_url))
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    ask()
    if mode is GenerationMode.POSITIVE:
        assert statuses & {200, 404}
    else:
        assert statuses & {400, 404, 422}
        assert method == "GET" or 200 not in statuses
    assert client.get("/health").status_code == 200
