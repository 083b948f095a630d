"""What schemathesis needs to know beyond the document, so that the document can be written for users."""

import uuid

import schemathesis


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Sends a new `Idempotency-Key` in each valid request: it generates one value for many bodies, which is refused."""
    # 4.32.5 takes a negative case whose headers were changed for a positive one.
    is_negative = case.meta is not None and case.meta.generation.mode.is_negative
    if not is_negative and case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
