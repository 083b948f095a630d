"""The life of a key, with a client by openapi-python-client: base URL and token are the arguments."""

import sys
from http import HTTPStatus
from typing import TypeVar
from uuid import uuid4

from mintkey_client import AuthenticatedClient
from mintkey_client.api.api_keys import (
    create_my_api_key,
    delete_my_api_key,
    get_my_api_key,
    get_my_api_key_usage,
    list_my_api_keys,
    revoke_my_api_key,
    rotate_my_api_key,
    update_my_api_key,
)
from mintkey_client.api.audit import list_my_audit_events
from mintkey_client.api.verification import verify_api_key
from mintkey_client.models import (
    ApiKeyCreateRequest,
    ApiKeyCreateRequestMetadata,
    ApiKeyRevokeRequest,
    ApiKeyRotateRequest,
    ApiKeyUpdateRequest,
    ApiKeyVerifyRequest,
    ProblemDetail,
    Status,
    VerificationCode,
)
from mintkey_client.types import UNSET, Response, Unset

base_url, token = sys.argv[1:]
mintkey = AuthenticatedClient(base_url=base_url, token=token)

T = TypeVar("T")


def ok(result: T | ProblemDetail | None) -> T:
    """Return the result of a call, or raise its problem."""
    if result is None or isinstance(result, ProblemDetail):
        raise RuntimeError(result)
    return result


def problem(response: Response[T | ProblemDetail], status: int) -> ProblemDetail:
    problem = response.parsed
    assert isinstance(problem, ProblemDetail), response
    assert response.status_code == problem.status == status, response
    assert response.headers["x-request-id"] == problem.request_id
    return problem


# Create: only this response and that of a rotation contain the secret. The same request twice creates one key.
metadata = ApiKeyCreateRequestMetadata.from_dict({"team": "billing"})
request = ApiKeyCreateRequest(name="ci", scopes=["projects:read"], metadata=metadata, expires_in_seconds=3600)
idempotency_key = str(uuid4())
created = ok(create_my_api_key.sync(client=mintkey, body=request, idempotency_key=idempotency_key))
replayed = create_my_api_key.sync_detailed(client=mintkey, body=request, idempotency_key=idempotency_key)
assert ok(replayed.parsed).key == created.key and replayed.headers["idempotency-replayed"] == "true", replayed
second = ok(create_my_api_key.sync(client=mintkey, body=ApiKeyCreateRequest(name="second")))

# List, a key a page.
names: list[str] = []
cursor: str | Unset = UNSET
while True:
    page = ok(list_my_api_keys.sync(client=mintkey, limit=1, cursor=cursor))
    names += [key.name for key in page.items]
    if isinstance(page.next_cursor, Unset):
        break
    cursor = page.next_cursor
assert names == ["second", "ci"], names

# Update, unless the key was changed in between.
got = get_my_api_key.sync_detailed(created.id, client=mintkey)
assert ok(got.parsed).status == Status.ACTIVE
etag = got.headers["etag"]
change = ApiKeyUpdateRequest(name="deploy", expires_at=None)
updated = ok(update_my_api_key.sync(created.id, client=mintkey, body=change, if_match=etag))
assert updated.name == "deploy" and isinstance(updated.expires_at, Unset), updated
lost = ApiKeyUpdateRequest(name="lost")
stale = update_my_api_key.sync_detailed(created.id, client=mintkey, body=lost, if_match=etag)
problem(stale, HTTPStatus.PRECONDITION_FAILED)

# Rotate: both secrets are good for a while, and a second rotation waits until then.
rotated = ok(rotate_my_api_key.sync(created.id, client=mintkey, body=ApiKeyRotateRequest(grace_seconds=3600)))
again = rotate_my_api_key.sync_detailed(created.id, client=mintkey)
assert problem(again, HTTPStatus.CONFLICT).type_ == "urn:mintkey:problem:rotation-in-progress"

# Rotate without a body, and retry: the same Idempotency-Key returns the same secret.
attempt = str(uuid4())
first_try = ok(rotate_my_api_key.sync(second.id, client=mintkey, idempotency_key=attempt))
assert ok(rotate_my_api_key.sync(second.id, client=mintkey, idempotency_key=attempt)).key == first_try.key


# Verify, as a gateway does.
def code(key: str, *scopes: str) -> VerificationCode:
    return ok(verify_api_key.sync(client=mintkey, body=ApiKeyVerifyRequest(key=key, scopes=[*scopes]))).code


verdict = ok(verify_api_key.sync(client=mintkey, body=ApiKeyVerifyRequest(key=rotated.key)))
assert verdict.valid and verdict.owner and verdict.owner.subject == "alice", verdict
assert verdict.metadata and verdict.metadata["team"] == "billing", verdict
assert code(created.key, "projects:read") == VerificationCode.CODE_VALID
assert code(created.key, "projects:write") == VerificationCode.CODE_INSUFFICIENT_SCOPE
assert code("mk_nonsense") == VerificationCode.CODE_NOT_FOUND

# Usage, day by day, up to a minute behind.
usage = ok(get_my_api_key_usage.sync(created.id, client=mintkey))
assert (usage.to - usage.from_).days == 29, usage

# Revoke permanently.
revoked = ok(revoke_my_api_key.sync(created.id, client=mintkey, body=ApiKeyRevokeRequest(reason="leaked")))
assert revoked.revoke_reason == "leaked", revoked
assert code(rotated.key) == VerificationCode.CODE_REVOKED

# Delete.
assert delete_my_api_key.sync_detailed(second.id, client=mintkey).status_code == HTTPStatus.NO_CONTENT
problem(get_my_api_key.sync_detailed(second.id, client=mintkey), HTTPStatus.NOT_FOUND)

# Audit.
events = ok(list_my_audit_events.sync(client=mintkey, key_id=created.id))
actions = [event.action for event in events.items]
assert actions == ["revoked", "rotated", "updated", "created"], actions

# Problems say what to change.
stranger = AuthenticatedClient(base_url=base_url, token="not-a-token")
problem(list_my_api_keys.sync_detailed(client=stranger), HTTPStatus.UNAUTHORIZED)
unnamed = create_my_api_key.sync_detailed(client=mintkey, body=ApiKeyCreateRequest(name=""))
errors = problem(unnamed, HTTPStatus.UNPROCESSABLE_ENTITY).errors
assert errors and errors[0].pointer == "/name", errors
