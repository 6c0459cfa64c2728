"""Errors as the OpenAI API has them: a status, and `{"error": {message, type, param, code}}`.

Clients know them by status and `code` (`context_length_exceeded`, `model_not_found`, ...), so
both are part of the interface. Next: `schemas`, which raises most of them.
"""

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """What a client is told.

    Attributes:
      status: of HTTP.
      kind: `type` of the error object.
      param: the field of the request that is wrong; None: none in particular.
      code: what a program can tell it by.
      headers: further ones of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error object."""
        return {
            "error": {
                "message": _sayable(str(self)),
                "type": self.kind,
                "param": None if self.param is None else _sayable(self.param),
                "code": self.code,
            }
        }


def _sayable(text: str) -> str:
    """A text with what UTF-8 cannot say written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Status 400."""
    return ApiError(400, message, param=param, code=code)


def unavailable(message: str) -> ApiError:
    """Status 503: the engine has failed, or the server is about to stop."""
    return ApiError(503, message, code="unavailable", headers={"Retry-After": "5"})
