"""Uses the client that was generated from the reference contract: base URL and token are the arguments."""

import json
import sys

from contract_client import AuthenticatedClient
from contract_client.api.default import post_auth_api_keys
from contract_client.models import ApiKeyCreateRequest, ApiKeyCreateResponse, ProblemDetail

base_url, token = sys.argv[1:]


def create(token, name):
    with AuthenticatedClient(base_url=base_url, token=token, timeout=10.0) as client:
        return post_auth_api_keys.sync_detailed(client=client, body=ApiKeyCreateRequest(name=name))


def assert_is_problem(response, status):
    problem = response.parsed
    assert isinstance(problem, ProblemDetail), response
    assert response.status_code == problem.status == status, response
    assert problem.title and problem.detail, response


assert_is_problem(create(token, ""), 422)
assert_is_problem(create("not-a-token", "example"), 401)

created = create(token, "example")
assert created.status_code == 201 and isinstance(created.parsed, ApiKeyCreateResponse), created
print(json.dumps(created.parsed.to_dict()))
