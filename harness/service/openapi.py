"""Describe the API as OpenAPI has it: every error is a problem, and is described as one."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from harness.service.problems import MEDIA_TYPE

_ERRORS = ("4XX", "5XX")
_PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
_DESCRIPTIONS = {"4XX": "A problem of the request", "5XX": "A problem of the service"}


def describe_problems(app: FastAPI) -> None:
    """Let the description of an app name the media type that its errors really have."""
    describe = app.openapi

    def describe_once() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _correct(describe())
        return app.openapi_schema

    replaced: Callable[[], dict[str, Any]] = describe_once
    app.openapi = replaced  # type: ignore[method-assign]


def _correct(document: dict[str, Any]) -> dict[str, Any]:
    for operations in document["paths"].values():
        for operation in operations.values():
            for status in _ERRORS:
                if status in operation["responses"]:
                    operation["responses"][status] = {"description": _DESCRIPTIONS[status], **_PROBLEM}
    return document
