"""What the README and the manual say is so: examples run, tables are complete.

The rules by which an example is run are those of the manual's page on development.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import shutil
import signal
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.main

import k2cli
from k2cli import BinanceConfig, TradeV2
from k2cli.cli import groups
from k2cli.cli.app import app
from k2cli.cli.exit_status import ExitStatus
from k2cli.cli.looks import DisplayConfig
from k2cli.config import load_config
from k2cli.errors import K2Error
from k2cli.simulator import Market, SimulatedExchange, parse_fault

ROOT = Path(__file__).parent.parent
MANUAL = ROOT / "k2cli" / "manual"
PAGES = [ROOT / "README.md", *sorted(MANUAL.glob("*.md"))]
ENDLESS = "# Ctrl-C ends it"
PATIENCE_SECONDS = 40


def blocks(language: str) -> list[Any]:
    return list(_blocks(language))


def _blocks(language: str) -> Iterator[Any]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = re.findall(
            rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE
        )
        for number, block in enumerate(found, 1):
            if "python3 -m venv" not in block:
                yield pytest.param(block, id=f"{page.stem}-{number}")


def section(page: str, heading: str) -> str:
    text = (MANUAL / f"{page}.md").read_text(encoding="utf-8")
    return re.split(r"\n## ", text.split(f"\n## {heading}\n")[1])[0]


def first_column(text: str) -> list[str]:
    return re.findall(r"^\| `?([^`|]+?)`? \|", text, re.MULTILINE)


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def environment(folder: Path, exchange: SimulatedExchange) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name[:3] != "K2_"}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "XDG_CACHE_HOME": str(folder),
        "K2_BINANCE_WEBSOCKET_URL": exchange.url,
        "K2_BINANCE_API_URL": exchange.api_url,
    }


async def run(
    command: Sequence[str],
    folder: Path,
    exchange: SimulatedExchange,
    *,
    interrupted: bool = False,
) -> str:
    """Run a command to its end, or to a Ctrl-C after its first word on stderr.

    Returns:
        What it wrote to stdout.
    """

    def as_at_a_prompt() -> None:
        # Where the tests run in the background, Ctrl-C is ignored.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        preexec_fn=None if sys.platform == "win32" else as_at_a_prompt,
        env=environment(folder, exchange),
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            if interrupted:
                assert await process.stderr.readline()
                os.killpg(process.pid, signal.SIGINT)
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()
    assert process.returncode == 0, f"{command[-1]}\n{err.decode()}"
    return out.decode()


async def run_k2(folder: Path, exchange: SimulatedExchange, *arguments: str) -> str:
    return await run([sys.executable, "-m", "k2cli", *arguments], folder, exchange)


async def provide_capture(
    block: str, folder: Path, exchange: SimulatedExchange
) -> None:
    """Record what a block reads and does not write itself."""
    writes = re.search(r"(-o |CaptureSink\(.)trades\.jsonl", block)
    if "trades.jsonl" in block and not writes:
        await run_k2(folder, exchange, "record", "-o", "trades.jsonl", "-n", "500")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the blocks are for a POSIX shell")
@pytest.mark.skipif(not shutil.which("jq"), reason="the blocks use jq")
@pytest.mark.parametrize("block", blocks("sh"))
async def test_a_shell_block_runs_as_written(block: str, tmp_path: Path) -> None:
    block = re.sub(r"--port \d+", "--port 0", block)
    commands = block.splitlines() if ENDLESS in block else [block]
    async with SimulatedExchange(Market(seed=1, rate=4000)) as exchange:
        await provide_capture(block, tmp_path, exchange)
        for command in commands:
            await run(
                ["bash", "-c", f"set -euo pipefail; {command}"],
                tmp_path,
                exchange,
                interrupted=ENDLESS in command,
            )


def imports(block: str) -> set[str]:
    """Find the modules that a program imports."""
    found = set()
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


def names_of_k2cli(block: str) -> set[str]:
    """Find the public names that a program uses."""
    found = set()
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module == "k2cli":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "k2cli":
            found.add(node.attr)
    return found


def skip_what_cannot_run_here(block: str) -> None:
    for module in imports(block):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("python"))
async def test_a_python_block_runs_as_written(block: str, tmp_path: Path) -> None:
    skip_what_cannot_run_here(block)
    program = tmp_path / "example.py"
    shortened = re.sub(r"duration_seconds=\d+", "duration_seconds=1", block)
    program.write_text(shortened, encoding="utf-8")
    async with SimulatedExchange(Market(seed=1, rate=4000)) as exchange:
        await provide_capture(block, tmp_path, exchange)
        await run([sys.executable, str(program)], tmp_path, exchange)


@pytest.mark.timeout(180)  # without mypy's cache
def test_the_library_examples_are_typed(tmp_path: Path) -> None:
    programs = []
    for parameter in blocks("python"):
        (block,) = parameter.values
        if "k2cli" in imports(block):
            programs.append(tmp_path / f"{parameter.id.replace('-', '_')}.py")
            programs[-1].write_text(block, encoding="utf-8")
    from mypy import api

    out, err, status = api.run(["--strict", *map(str, programs)])
    assert status == 0, out + err


def test_the_examples_use_public_names_only() -> None:
    used = {
        name for each in blocks("python") for name in names_of_k2cli(each.values[0])
    }
    assert used <= set(k2cli.__all__)


def test_the_readme_has_the_two_commands() -> None:
    commands = re.findall(
        r"^```sh\n(python3 -m venv .*)\n```", PAGES[0].read_text("utf-8"), re.MULTILINE
    )
    assert len(commands) == 2
    assert "--duration 1m" in commands[0]
    assert "pytest" in commands[1]


@pytest.mark.parametrize("block", blocks("toml"))
def test_a_configuration_example_is_taken(block: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(block, encoding="utf-8")
    config, tables = load_config({}, file), tomllib.loads(block)
    for name, value in tables.get("binance", {}).items():
        assert getattr(config, name) == value
    looks = DisplayConfig.load(file=file)
    assert looks.model_fields_set == tables.get("display", {}).keys()
    assert groups.load(file).keys() == tables.get("groups", {}).keys()


# Links


def anchors(page: Path) -> set[str]:
    text = re.sub(
        r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in headings}


@pytest.mark.parametrize(
    "page", [*PAGES, *ROOT.glob(".github/*.md")], ids=lambda page: page.stem
)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_reachable_from_the_index() -> None:
    index = (MANUAL / "index.md").read_text("utf-8")
    linked = set(re.findall(r"\]\((\w+)\.md\)", index))
    assert linked | {"index"} == {page.stem for page in MANUAL.iterdir()}


def test_every_page_begins_with_its_title() -> None:
    for page in MANUAL.iterdir():
        assert re.match(r"# \S.*\n\n", page.read_text("utf-8")), page


# Tables


def test_every_command_and_option_is_documented() -> None:
    k2: Any = typer.main.get_command(app)
    shared = section("commands", "Options of stream and record")
    for command in (k2, *k2.commands.values()):
        is_k2 = command is k2
        text = section("commands", "k2" if is_k2 else f"k2 {command.name}")
        if command.name in ("stream", "record"):
            text += shared
        options = {
            name
            for parameter in command.params
            if parameter.param_type_name == "option"
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        documented = {name for name in quoted(text) if re.fullmatch("--?[a-z-]+", name)}
        assert options - documented == set(), command.name
        if not is_k2:
            # Others are in a sentence, as of another option's meaning.
            listed = set(re.findall(r"^\| (`-.+?) \|", text, re.MULTILINE))
            listed = {name for cell in listed for name in quoted(cell)}
            assert listed - options == set(), command.name


def test_the_exit_statuses_are_all_documented() -> None:
    rows = first_column(section("commands", "Exit status"))[1:]
    assert [int(row) for row in rows if row.isdigit()] == [
        status.value for status in ExitStatus
    ]


def test_the_fields_of_the_record_are_all_documented() -> None:
    rows = first_column(section("files", "The record").split("| key in")[0])
    assert rows[1:] == list(inspect.signature(TradeV2).parameters)


def test_the_settings_and_their_defaults_are_all_documented(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in os.environ:
        if name.startswith("K2_"):
            monkeypatch.delenv(name)
    page = (MANUAL / "configuration.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(.+?)` \|", page, re.MULTILINE)
    config = BinanceConfig()

    assert {name for name, _, _ in rows} == set(
        inspect.signature(BinanceConfig).parameters
    )
    for name, variable, default in rows:
        value = getattr(config, name)
        text = ",".join(value) if isinstance(value, list) else f"{value}"
        assert default == text.replace("False", "false").removesuffix(".0")
        assert variable == f"K2_BINANCE_{name.upper()}"


def test_the_faults_are_all_documented() -> None:
    rows = first_column(section("simulator", "Faults").replace("\\|", "/"))
    with pytest.raises(K2Error) as unknown:
        parse_fault("no-such-fault@1")
    known = str(unknown.value).partition("There are ")[2].split(", ")
    assert [row.partition("@")[0] for row in rows[1:]] == known


@pytest.mark.slow
async def test_the_keys_of_what_comes_out_are_all_documented(tmp_path: Path) -> None:
    async with SimulatedExchange(Market(seed=1, rate=4000)) as exchange:
        csv = await run_k2(tmp_path, exchange, "stream", "--format", "csv", "-n", "1")
        await run_k2(
            *(tmp_path, exchange, "record", "-o", "trades.jsonl", "-n", "50"),
            *("--summary", "ledger.json"),
        )
        verified = await run_k2(tmp_path, exchange, "verify", "--json", "trades.jsonl")
        symbols = await run_k2(tmp_path, exchange, "symbols", "BTCUSDT")

    assert csv.splitlines()[0] in section("files", "CSV").splitlines()
    report = json.loads(verified)
    documented = quoted(section("commands", "The JSON of verify"))
    for part in (report, report["counts"], report["files"][0], report["symbols"][0]):
        assert set(part) <= documented
    ledger = json.loads((tmp_path / "ledger.json").read_bytes())
    documented = quoted(section("commands", "The summary"))
    assert set(ledger) <= documented
    assert set(ledger["symbols"]["BTCUSDT"]) <= documented
    documented = quoted(section("commands", "k2 symbols"))
    assert set(json.loads(symbols.splitlines()[0])) <= documented
