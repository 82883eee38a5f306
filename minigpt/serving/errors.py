"""What went wrong, in the shape that OpenAI's clients read."""

import json
from typing import Any

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """`param`: the field that is wrong; `code`: a word for programs; `retry_after`: seconds."""
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["retry-after"] = str(retry_after)

    def shape(self) -> dict[str, Any]:
        """As JSON holds it."""
        return shape_of(self.status, self.message, self.param, self.code)


def shape_of(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error as OpenAI's API tells it."""
    usual = "server_error" if status >= 500 else "invalid_request_error"
    kind = TYPES.get(status, usual)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_bytes(status: int, message: str, code: str | None = None) -> bytes:
    """The same, as it is sent."""
    return json.dumps(shape_of(status, message, code=code), ensure_ascii=False).encode()


def unavailable(message: str) -> ApiError:
    """Nobody can answer now; in a moment somebody can."""
    return ApiError(503, message, code="unavailable", retry_after=2)
