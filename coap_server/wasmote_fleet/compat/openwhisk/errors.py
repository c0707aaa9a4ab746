"""What a request is refused with. The texts that clients know are OpenWhisk's own."""

from __future__ import annotations

from collections.abc import Mapping

from wasmote.errors import WasmoteError

NOT_FOUND = "The requested resource does not exist."
FORBIDDEN = "The supplied authentication is not authorized to access this resource."
EXISTS = "resource already exists"
CONFLICT = "Concurrent modification to resource detected."
NOT_ALLOWED = "Request defines parameters that are not allowed (e.g., reserved properties)."
OVERLOADED = "System is overloaded, try again later."
BAD_FQN = (
    "The fully qualified name of the entity must contain at least the namespace and the name of the entity."
)


class Rejected(WasmoteError):
    """An answer other than success: status, and `{error, code}` with this text."""

    def __init__(self, status: int, text: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text, next_step="correct the request as the text says")
        self.status = status
        self.headers = dict(headers or {})


def not_found(text: str = NOT_FOUND) -> Rejected:
    return Rejected(404, text)


def bad_request(text: str) -> Rejected:
    return Rejected(400, text)


def malformed(text: str) -> Rejected:
    """JSON that is not what is asked for."""
    return Rejected(400, f"The request content was malformed:\n{text}")


def conflict(text: str) -> Rejected:
    return Rejected(409, text)


def too_large(what: str, is_bytes: int, allowed_bytes: int) -> Rejected:
    return Rejected(413, f"{what} larger than allowed: {is_bytes} > {allowed_bytes} bytes.")


def too_many(text: str, *, retry_after_s: int) -> Rejected:
    return Rejected(429, text, headers={"Retry-After": str(retry_after_s)})
