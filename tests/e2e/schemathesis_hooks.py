"""What schemathesis needs to know beyond the document, so that the document can be written for users."""

import uuid

import schemathesis

# Control, format, line separator and paragraph separator characters of the Basic Multilingual Plane.
INVISIBLE = (
    r"\u0000-\u001f\u007f-\u009f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
)
NAME = {"pattern": rf"^(?!\s*$)[^{INVISIBLE}]+$"}
IDENTIFIER = {"pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$"}
# Begins with 2027, because earlier times are past, and ends with 9999, as RFC 3339 does.
FUTURE = {"pattern": "^(202[7-9]|20[3-9][0-9]|2[1-9][0-9]{2}|[3-9][0-9]{3})-"}

# The rules that the document has in words, because client generators fail on them in a schema.
RULES = {
    "ApiKeyCreateRequest": {"name": NAME, "expires_at": FUTURE},
    "ApiKeyUpdateRequest": {"name": NAME, "expires_at": FUTURE},
    "ApiKeyRevokeRequest": {"reason": NAME},
    "ApiKeyBulkRevokeRequest": {
        "issuer": IDENTIFIER,
        "subject": IDENTIFIER,
        "organization": IDENTIFIER,
        "reason": NAME,
    },
}
LIFETIMES = ["expires_at", "expires_in_seconds"]
FILTERS = ["issuer", "subject", "organization", "created_by_key", "created_before"]


@schemathesis.hook
def before_load_schema(_context, raw_schema):
    """Adds the rules, and that `null` counts as absent on POST."""
    schemas = raw_schema["components"]["schemas"]
    for name, rules in RULES.items():
        for field, rule in rules.items():
            schemas[name]["properties"][field].update(rule)
    # A client by progenitor 0.15.1 lacks the fields that a `not` names.
    schemas["ApiKeyCreateRequest"]["not"] = {
        "required": LIFETIMES,
        "properties": {field: {"not": {"enum": [None]}} for field in LIFETIMES},
    }
    for path in raw_schema["paths"].values():
        body = path.get("post", {}).get("requestBody", {})
        reference = body.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref")
        if reference:
            allow_null(schemas[reference.rsplit("/", 1)[1]], body["required"])
    schemas["ApiKeyBulkRevokeRequest"]["anyOf"] = [
        {"required": [field], "properties": {field: {"not": {"enum": [None]}}}} for field in FILTERS
    ]


def allow_null(body, is_required):
    body["nullable"] = not is_required
    for field, schema in body["properties"].items():
        schema["nullable"] = field not in body.get("required", [])


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Sends a new `Idempotency-Key` in each valid request: it generates one value for many bodies, which is refused."""
    # 4.32.5 takes a negative case whose headers were changed for a positive one.
    is_negative = case.meta is not None and case.meta.generation.mode.is_negative
    if not is_negative and case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
