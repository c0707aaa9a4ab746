"""The words that the document is written in: each gives a piece of it (OpenAPI 3.1, JSON Schema 2020-12)."""

from __future__ import annotations

from typing import Any

from wasmote_fleet.gateway.http.body import JSON

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
INTEGER: Json = {"type": "integer"}
FLAG: Json = {"type": "boolean"}
TEXTS: Json = {"type": "array", "items": TEXT}
TEXTS_BY_NAME: Json = {"type": "object", "additionalProperties": TEXT}
TEXT_OR_NULL: Json = {"type": ["string", "null"]}
NUMBER_OR_NULL: Json = {"type": ["number", "null"]}
INTEGER_OR_NULL: Json = {"type": ["integer", "null"]}
BINARY: Json = {"type": "string", "format": "binary"}

# What any request may get.
_ANYWHERE = (400, 401, 403, 414, 503)


# ---- schemas ----


def ref(name: str) -> Json:
    """One of the SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def matching(pattern: str) -> Json:
    """A text that matches as a whole, as re.fullmatch() has it."""
    return {"type": "string", "pattern": f"^{pattern}$"}


def seconds(least: float, most: float, usual: float | None = None) -> Json:
    """A time. usual: None where there is none."""
    bounds = {"minimum": least, "maximum": most} | ({} if usual is None else {"default": usual})
    return {"type": "number"} | {name: int(s) if s == int(s) else s for name, s in bounds.items()}


def object_of(properties: Json, *, optional: tuple[str, ...] = ()) -> Json:
    """What the server sends: it may get more members."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def strict(properties: Json, *, required: tuple[str, ...] = ()) -> Json:
    """What the server is sent: an unknown member is an error."""
    optional = tuple(name for name in properties if name not in required)
    return {**object_of(properties, optional=optional), "additionalProperties": False}


def list_of(name: str, item: str) -> Json:
    """An object with one member, a list of one of the SCHEMAS."""
    return object_of({name: {"type": "array", "items": ref(item)}})


# ---- operations ----


def path(name: str, pattern: str | None = None) -> Json:
    """A parameter in the path. pattern: as for matching()."""
    schema = TEXT if pattern is None else matching(pattern)
    return {"name": name, "in": "path", "required": True, "schema": {**schema, "minLength": 1}}


def query(name: str, schema: Json, text: str) -> Json:
    """A parameter in the query; it may be left out."""
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def content(schema: Json, media_type: str = JSON) -> Json:
    """A body of one type; several are put together with |."""
    return {media_type: {"schema": schema}}


def operation(
    summary: str,
    answers: dict[int, Json | None],
    errors: tuple[int, ...] = (),
    *,
    parameters: tuple[Json, ...] = (),
    body: Json | None = None,
    body_required: bool = True,
    description: str = "",
) -> Json:
    """answers: the content by status, None for none. errors: beside those that any request may get."""
    responses: Json = {}
    for status, given in answers.items():
        responses[str(status)] = {"description": "done"} | ({"content": given} if given else {})
    for status in (*_ANYWHERE, *errors):
        responses[str(status)] = {"$ref": "#/components/responses/Problem"}
    found: Json = {"summary": summary, "responses": responses}
    if description:
        found["description"] = description
    if parameters:
        found["parameters"] = list(parameters)
    if body is not None:
        found["requestBody"] = {"required": body_required, "content": body}
    return found
