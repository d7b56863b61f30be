"""Errors as they are told over HTTP: one form for all, and never a trace."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from kvorum.serve.schema import Error, ErrorBody

WORDS = {
    400: ("malformed", "The body is no JSON"),
    401: ("unauthorized", "A token is missing or wrong"),
    403: ("host", "The request names another host than this server"),
    404: ("not_found", "There is no such thing"),
    405: ("method", "This path has another method"),
    408: ("timeout", "The body did not arrive in time"),
    409: ("changed", "What it is about has changed meanwhile"),
    413: ("too_large", "The body is too long"),
    415: ("media_type", "The body is not said to be JSON"),
    422: ("invalid", "A field is wrong; it is named"),
    429: ("busy", "Too many questions wait"),
    500: ("internal", "The server has failed"),
    503: ("stopping", "The server is stopping"),
    504: ("timeout", "The answer took too long"),
}


def replies(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a route can reply with, for OpenAPI."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        code, words = WORDS[status]
        example = {"error": {"code": code, "message": words.lower(), "field": None}}
        found[status] = {
            "model": Error,
            "description": words,
            "content": {"application/json": {"example": example}},
        }
    return found


def tell_errors(app: FastAPI) -> None:
    """Every error in one form, and never a trace."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        kind = request.headers.get("content-type", "")
        if request.method in ("POST", "PUT") and not kind.partition(";")[0].strip().endswith("json"):
            return refusal(415, "send the body as content-type: application/json", "Content-Type")
        if first["type"] == "json_invalid":
            return refusal(400, f"the body is no JSON: {first['ctx']['error']}", "body")
        blank = first["type"] in ("string_too_short", "string_pattern_mismatch")
        words = "it is empty" if blank else first["msg"].removeprefix("Value error, ")
        return refusal(422, words, _field(first["loc"]))

    @app.exception_handler(StarletteHTTPException)
    async def refused(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return refusal(error.status_code, str(error.detail), None, dict(error.headers or {}))


def refusal(status: int, message: str, field: str | None, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error; `field` is the part of the request that is wrong."""
    code = WORDS.get(status, ("error", ""))[0]
    body = Error(error=ErrorBody(code=code, message=message, field=field))
    return JSONResponse(body.model_dump(), status, headers)


def _field(where: tuple[int | str, ...]) -> str:
    """`questions[0].choices[2]` of a place in the body; a parameter's name otherwise."""
    parts = list(where[1:]) if len(where) > 1 else ["body"]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
