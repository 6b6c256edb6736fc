"""The OpenAPI document, made of the table of endpoints."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

from spalloc_web._http.endpoints import ENDPOINTS, Endpoint
from spalloc_web._version import __version__

_TEMPLATE = "#/components/schemas/{name}"


class Error(msgspec.Struct, frozen=True):
    """Why a request was refused."""

    status: int
    error: str


def document(prefix: str) -> dict[str, Any]:
    """Return the document.

    Parameters
    ----------
    prefix
        The first part of the paths.
    """
    answers = [endpoint.answer for endpoint in ENDPOINTS]
    schemas, components = msgspec.json.schema_components(
        [*answers, Error], ref_template=_TEMPLATE
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "spalloc-web",
            "version": __version__,
            "description": "Boards, jobs and queue of a spalloc server, and their history."
            " Read-only. Times are Unix seconds.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": prefix}],
        "paths": dict(
            path
            for endpoint, schema in zip(ENDPOINTS, schemas, strict=False)
            for path in _paths(endpoint, schema, schemas[-1])
        ),
        "components": {"schemas": components},
    }


def _paths(
    endpoint: Endpoint, schema: dict[str, Any], error: dict[str, Any]
) -> list[tuple[str, dict[str, Any]]]:
    refusal = {
        "description": "Refused, with the reason",
        "content": {"application/json": {"schema": error}},
    }
    word = re.sub(r"\W+", "_", endpoint.path).strip("_")

    def operation(name: str, content: dict[str, Any]) -> dict[str, Any]:
        return {
            "get": {
                "operationId": name,
                "summary": endpoint.summary,
                "parameters": _parameters(endpoint),
                "responses": {
                    "200": {"description": endpoint.summary, "content": content},
                    "4XX": refusal,
                    "503": refusal,
                },
            }
        }

    paths = [(endpoint.path, operation(word, {"application/json": {"schema": schema}}))]
    if endpoint.csv:
        text = {"text/csv": {"schema": {"type": "string"}}}
        paths.append((f"{endpoint.path}.csv", operation(f"{word}_csv", text)))
    return paths


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    """Describe the parameters: those in braces are in the path, all others in the query."""
    schema = msgspec.json.schema(endpoint.parameters)
    while "$ref" in schema:
        schema = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    in_path = set(re.findall(r"\{(\w+)\}", endpoint.path))
    about = inspect.getdoc(endpoint.parameters) or ""
    made = []
    for name, kind in schema.get("properties", {}).items():
        parameter: dict[str, Any] = {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name in in_path,
            "schema": _simple(kind),
        }
        if "description" not in kind and about:
            parameter["description"] = about
        made.append(parameter)
    return made


def _simple(kind: dict[str, Any]) -> dict[str, Any]:
    """Leave null out: a parameter that is not given is not sent."""
    options = [each for each in kind.get("anyOf", ()) if each.get("type") != "null"]
    return options[0] if len(options) == 1 else {k: v for k, v in kind.items() if v is not None}
