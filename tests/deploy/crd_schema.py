"""Validation of an object against a CRD's `openAPIV3Schema`, as the API server does it.

The API server applies defaults, prunes fields that the schema does not know and validates the rest.
Pruning is silent, so a misspelt field is an error here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import jsonschema

Schema = dict[str, Any]


def with_defaults(value: Any, schema: Schema) -> Any:
    """Return `value` with the schema's defaults where it says nothing."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        inner = {k: with_defaults(v, properties.get(k, {})) for k, v in value.items()}
        for key, sub in properties.items():
            if key not in inner and "default" in sub:
                inner[key] = copy.deepcopy(sub["default"])
        return inner
    if isinstance(value, list):
        return [with_defaults(v, schema.get("items", {})) for v in value]
    return value


def unknown_fields(value: Any, schema: Schema, path: str = "") -> Iterator[str]:
    """Yield the paths that the API server would prune."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_fields(item, schema.get("items", {}), f"{path}[{index}]")
    if not isinstance(value, dict) or _keeps_anything(schema):
        return
    properties = schema.get("properties", {})
    extra = schema.get("additionalProperties")
    for key, item in value.items():
        if key in properties:
            yield from unknown_fields(item, properties[key], f"{path}.{key}")
        elif not extra:
            yield f"{path}.{key} is unknown"


def _keeps_anything(schema: Schema) -> bool:
    # `metadata` is described as an object alone: the API server knows it by itself.
    bare = schema.get("type") == "object" and not {"properties", "additionalProperties"} & {*schema}
    return bare or bool(schema.get("x-kubernetes-preserve-unknown-fields"))


def errors(manifest: dict[str, Any], schema: Schema) -> list[str]:
    """Return what the schema finds wrong with an object, defaults applied."""
    whole = with_defaults(manifest, schema)
    found = [
        f"{'.'.join(str(p) for p in e.absolute_path)}: {e.message}"
        for e in jsonschema.Draft7Validator(schema).iter_errors(whole)
    ]
    return found + list(unknown_fields(manifest, schema))
