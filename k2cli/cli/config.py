"""``k2 config``."""

from __future__ import annotations

from typing import Annotated

import typer

from k2cli.cli import options as shared  # noqa: TC001 - Typer reads annotations


def config(
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object per setting.")
    ] = False,
    url: shared.Url = None,
    api_url: shared.ApiUrl = None,
    config: shared.Config = None,
    debug: shared.Debug = False,
) -> int:
    """Print the settings in force, looks and groups too, and where each comes from.

    Examples:
      k2 config
      k2 config --json | jq -r .name
    """
    del debug  # main() reads it
    import orjson

    from k2cli.cli import groups
    from k2cli.cli.exit_status import ExitStatus
    from k2cli.cli.looks import DisplayConfig
    from k2cli.cli.pipe import print_bytes
    from k2cli.config import explain_config
    from k2cli.config_file import default_config_file
    from k2cli.errors import printable

    settings = [
        *explain_config({"websocket_url": url, "api_url": api_url}, config),
        *DisplayConfig.explain(config),
        *groups.explain(config),
    ]
    if json:
        keys = ("name", "value", "source")
        lines = [
            orjson.dumps(dict(zip(keys, one, strict=True))).decode() for one in settings
        ]
    else:
        names = max(len(name) for name, _, _ in settings)
        values = max(len(value) for _, value, _ in settings)
        lines = [
            f"{name:<{names}}  {printable(value, 200):<{values}}  {source}"
            for name, value, source in settings
        ]
        file = config or default_config_file()
        found = "" if file.exists() else " (there is none)"
        lines += ["", f"file: {printable(str(file))}{found}"]
    print_bytes("".join(f"{line}\n" for line in lines).encode())
    return ExitStatus.DONE
