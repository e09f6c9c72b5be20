"""``k2 schema``: the record's schema, against the facts of the K2 platform."""

from __future__ import annotations

import json

import pytest

from .conftest import K2

TIME = {"type": "long", "logicalType": "timestamp-micros"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 8}
ASSET_CLASS = {
    "type": "enum",
    "name": "AssetClass",
    "symbols": ["equities", "crypto", "futures", "options"],
}
SIDE = {
    "type": "enum",
    "name": "TradeSide",
    "symbols": ["BUY", "SELL", "SELL_SHORT", "UNKNOWN"],
}
AVRO = {
    "type": "record",
    "name": "TradeV2",
    "namespace": "com.k2.marketdata",
    "fields": [
        {"name": "message_id", "type": "string"},
        {"name": "trade_id", "type": "string"},
        {"name": "symbol", "type": "string"},
        {"name": "exchange", "type": "string"},
        {"name": "asset_class", "type": ASSET_CLASS},
        {"name": "timestamp", "type": TIME},
        {"name": "price", "type": DECIMAL},
        {"name": "quantity", "type": DECIMAL},
        {"name": "currency", "type": "string"},
        {"name": "side", "type": SIDE},
        {"name": "trade_conditions", "type": {"type": "array", "items": "string"}},
        {"name": "source_sequence", "type": ["null", "long"], "default": None},
        {"name": "ingestion_timestamp", "type": TIME},
        {"name": "platform_sequence", "type": ["null", "long"], "default": None},
        {
            "name": "vendor_data",
            "type": ["null", {"type": "map", "values": "string"}],
            "default": None,
        },
    ],
}


async def test_the_avro_schema_is_the_platforms(k2: K2) -> None:
    ended = await k2("schema", "--avro")
    assert ended.status == 0
    assert json.loads(ended.out) == AVRO
    assert len(ended.lines) > 20


async def test_the_json_schema_names_every_key(k2: K2) -> None:
    ended = await k2("schema")
    assert ended.status == 0
    schema = json.loads(ended.out)
    keys = [field["name"] for field in AVRO["fields"]]  # type: ignore[index]  # json
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert list(schema["properties"]) == schema["required"] == keys
    assert schema["additionalProperties"] is False
    assert schema["properties"]["side"]["enum"] == SIDE["symbols"]
    assert all("title" not in schema["properties"][key] for key in ("symbol", "price"))
    vendor_data = schema["$defs"]["VendorData"]
    assert "source" in vendor_data["properties"]
    assert "source" not in vendor_data["required"]
    assert vendor_data["additionalProperties"]["type"] == "string"


@pytest.mark.parametrize("arguments", [("--xml",), ("extra",)])
async def test_a_wrong_use_is_refused(k2: K2, arguments: tuple[str, ...]) -> None:
    ended = await k2("schema", *arguments)
    assert ended.status == 2
    assert ended.lines == []
