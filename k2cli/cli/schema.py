"""``k2 schema``."""

from __future__ import annotations

from typing import Annotated

import typer

from k2cli.cli import options as shared  # noqa: TC001 - Typer reads annotations


def schema(
    avro: Annotated[
        bool,
        typer.Option("--avro", help="The Avro schema of the K2 platform's topics."),
    ] = False,
    debug: shared.Debug = False,
) -> int:
    """Print the schema of the records: JSON Schema, or Avro.

    Examples:
      k2 schema > trade.schema.json
      k2 schema --avro > TradeV2.avsc
    """
    del debug  # main() reads it
    import orjson

    from k2cli.cli.exit_status import ExitStatus
    from k2cli.cli.pipe import print_bytes
    from k2cli.schema import avro_schema, json_schema

    rendered = avro_schema() if avro else json_schema()
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    print_bytes(orjson.dumps(rendered, option=options))
    return ExitStatus.DONE
