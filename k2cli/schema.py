"""The record's schema, rendered from its definition: JSON Schema and Avro."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from k2cli.trade import TradeV2

NAMESPACE = "com.k2.marketdata"

# By JSON Schema's type and format.
_AVRO: dict[tuple[str, str | None], Any] = {
    ("string", None): "string",
    ("string", "decimal"): {
        "type": "bytes",
        "logicalType": "decimal",
        "precision": 18,
        "scale": 8,
    },
    ("integer", None): "long",
    ("integer", "timestamp-micros"): {
        "type": "long",
        "logicalType": "timestamp-micros",
    },
}


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out titles that only repeat a key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a line that k2 writes."""
    schema = TypeAdapter(TradeV2).json_schema(schema_generator=_WithoutTitles)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


def avro_schema() -> dict[str, Any]:
    """Return the Avro schema of a record, as the K2 platform has it."""
    properties = json_schema()["properties"]
    return {
        "type": "record",
        "name": TradeV2.__name__,
        "namespace": NAMESPACE,
        "fields": [_avro_field(key, field) for key, field in properties.items()],
    }


def _avro_field(key: str, field: dict[str, Any]) -> dict[str, Any]:
    avro: Any
    if "anyOf" in field:  # something or null
        avro = _avro_type(field["anyOf"][0])
    elif "$ref" in field:  # vendor_data, which other venues of the platform may lack
        avro = {"type": "map", "values": "string"}
    else:
        return {"name": key, "type": _avro_type(field)}
    return {"name": key, "type": ["null", avro], "default": None}


def _avro_type(field: dict[str, Any]) -> Any:
    if "enum" in field:
        return {"type": "enum", "name": field["title"], "symbols": field["enum"]}
    if field["type"] == "array":
        return {"type": "array", "items": _avro_type(field["items"])}
    return _AVRO[field["type"], field.get("format")]
