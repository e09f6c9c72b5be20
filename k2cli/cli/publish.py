"""``k2 publish``."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from k2cli.cli import options as shared

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from k2cli.errors import LogUnreachable
    from k2cli.publish.avro import AvroEncoder
    from k2cli.publish.destination import Destination, Record, Target
    from k2cli.publish.outbox import Outbox
    from k2cli.publish.publisher import Ledger, Publisher

_REDRAWN_EVERY_SECONDS = 0.25
_LOGGED_EVERY_SECONDS = 30.0
_MOST_REFUSALS_LOGGED = 20
_PATIENCE_SECONDS = 0.8


class ValueFormat(StrEnum):
    """How a record is written to the log."""

    JSON = "json"
    AVRO = "avro"


ToConfig = Annotated[
    Path | None,
    typer.Option(
        "--to-config",
        metavar="FILE",
        help="The client's own settings, key=value a line: TLS, SASL, credentials.",
        show_default=False,
    ),
]
RegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URL",
        help="The schema registry, for Avro.",
        show_default=False,
    ),
]


def publish(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="A capture. Its finished files are found beside it.",
            show_default=False,
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URL",
            help="kafka://host:9092[,host...]/TOPIC or nats://host:4222/STREAM; "
            "settings of the client after a ?",
            show_default=False,
        ),
    ],
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Wait for more, while the capture grows."),
    ] = False,
    value_format: Annotated[
        ValueFormat,
        typer.Option("--format", "-f", help="What to write to Kafka."),
    ] = ValueFormat.JSON,
    registry: RegistryUrl = None,
    subject: Annotated[
        str | None,
        typer.Option(
            "--subject",
            metavar="NAME",
            help="Name of the schema in the registry; TOPIC-value if not given.",
            show_default=False,
        ),
    ] = None,
    create: Annotated[
        bool,
        typer.Option("--create", help="Make the topic or stream if there is none."),
    ] = False,
    partitions: Annotated[
        int, typer.Option(min=1, help="Partitions of a topic that is made.")
    ] = 40,
    retry_for: Annotated[
        str,
        typer.Option(
            "--retry-for",
            metavar="TIME",
            help="How long a log that does not answer is tried again.",
        ),
    ] = "2m",
    to_config: ToConfig = None,
    log_level: shared.Level = shared.LogLevel.INFO,
    log_format: shared.Format = shared.LogFormat.AUTO,
    debug: shared.Debug = False,
) -> int:
    """Hand a capture on to Kafka or NATS: each trade once, in order per symbol.

    Where it stopped is kept in the log itself: killed on either side, the next run
    goes on after the last trade that is there.

    Examples:
      k2 publish trades.jsonl --to kafka://localhost:9092/trades --create
      k2 publish trades.jsonl --follow --to nats://localhost:4222/TRADES
      k2 verify kafka://localhost:9092/trades       # the proof goes along
    """
    del debug  # main() reads it
    import threading
    import time

    import structlog

    from k2cli.cli.exit_status import ExitStatus
    from k2cli.cli.log import configure, stderr_output
    from k2cli.cli.options import duration_seconds
    from k2cli.publish.destination import target_of
    from k2cli.publish.outbox import Outbox
    from k2cli.publish.publisher import Publisher

    retry_seconds = duration_seconds(retry_for)
    configure(log_level.value, log_format.value, stderr_output())
    log = structlog.get_logger()
    target = target_of(to, to_config)
    outbox = Outbox(files, follow=follow)
    encoder = _encoder(target, value_format, registry, subject)
    destination = _destination(target, encoder, partitions if create else None)
    stop = threading.Event()
    _stop_on_signals(stop)

    def on_retry(error: LogUnreachable, seconds: float) -> None:
        log.warning(error.message, next_attempt_seconds=seconds)

    with _ProgressReport(outbox, target) as progress:
        publisher = Publisher(
            outbox,
            destination,
            retry_seconds=retry_seconds,
            clock=time.monotonic,
            wait=stop.wait,
            on_progress=lambda: progress.look(publisher.ledger),
            on_retry=on_retry,
        )

        def leave() -> None:
            progress.close()
            typer.echo(
                f"{target} did not answer. Start k2 publish again: nothing is lost",
                err=True,
            )
            os._exit(ExitStatus.INTERRUPTED)

        _watch(publisher, leave)
        try:
            publisher.run()
        finally:
            progress.close()
            destination.close()
            refused = encoder.refused if encoder is not None else 0
            _tell(publisher, target, refused)
    is_incomplete = publisher.ledger.missing or refused
    return ExitStatus.INCOMPLETE if is_incomplete else ExitStatus.DONE


def _stop_on_signals(stop: threading.Event) -> None:
    """Let the first signal end it after the batch that is on its way."""
    import signal

    def request(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, request)


def _watch(publisher: Publisher, leave: Callable[[], None]) -> None:
    """Leave when the end is requested, and the log does not even let itself be opened.

    Its client may wait where no signal is handled. Nothing is on its way then.
    """
    import signal
    import socket
    import threading
    import time

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    # Written to when a signal comes, and not only when it is handled.
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        with ours, theirs:
            ours.recv(1)
            while True:
                time.sleep(_PATIENCE_SECONDS)
                if publisher.is_connecting:
                    leave()

    threading.Thread(target=watch, daemon=True, name="k2-stop").start()


def _encoder(
    target: Target, value_format: ValueFormat, registry: str | None, subject: str | None
) -> AvroEncoder | None:
    import structlog

    from k2cli.errors import SettingsError, printable

    if value_format is ValueFormat.JSON:
        return None
    if target.scheme != "kafka" or registry is None:
        raise SettingsError(
            "Avro goes to Kafka, by the schema of a registry",
            "Add --registry http://host:8081",
        )
    from k2cli.publish.avro import AvroEncoder, Registry

    log = structlog.get_logger()
    told = 0

    def on_refused(record: Record, why: str) -> None:
        nonlocal told
        told += 1
        if told <= _MOST_REFUSALS_LOGGED:
            log.warning(
                "Not published",
                why=printable(why),
                symbol=printable(record.symbol, 40),
                trade_id=record.trade_id,
            )

    return AvroEncoder(
        Registry(registry), subject or f"{target.name}-value", on_refused=on_refused
    )


def _destination(
    target: Target, encoder: AvroEncoder | None, partitions: int | None
) -> Destination:
    import structlog

    if target.scheme == "nats":
        from k2cli.publish.nats import NatsDestination

        return NatsDestination(target, create=partitions is not None)
    from k2cli.publish.kafka import KafkaDestination, json_value

    return KafkaDestination(
        target,
        encode=encoder or json_value,
        partitions=partitions,
        on_warning=structlog.get_logger().warning,
    )


class _ProgressReport:
    """A line on a terminal, and a log line now and then elsewhere."""

    def __init__(self, outbox: Outbox, target: Target) -> None:
        import time

        from rich.console import Console

        from k2cli.display.meters import CountRate
        from k2cli.display.progress import live_line

        self._outbox = outbox
        self._target = target
        self._clock: Callable[[], float] = time.monotonic
        self._time = time.time
        console = Console(stderr=True)
        is_terminal = console.is_terminal and not console.is_dumb_terminal
        self._live = live_line(console) if is_terminal else None
        self._console = console
        self._pace = CountRate(self._clock())
        self._next = self._clock() + (0 if is_terminal else _LOGGED_EVERY_SECONDS)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the line off the terminal."""
        from contextlib import suppress

        if self._live is not None:
            with suppress(OSError):  # the terminal is gone
                self._live.stop()

    def look(self, ledger: Ledger) -> None:
        """Show how far it has come, if it is time to."""
        now = self._clock()
        if now < self._next:
            return
        every = _LOGGED_EVERY_SECONDS if self._live is None else _REDRAWN_EVERY_SECONDS
        self._next = now + every
        rate = self._pace.per_second(ledger.trades, now)
        behind_bytes = self._outbox.behind_bytes
        age = max(self._time() - ledger.last_ingestion_us / 1e6, 0.0)
        if self._live is None:
            import structlog

            structlog.get_logger().info(
                "Publishing",
                trades=ledger.trades,
                per_second=round(rate),
                acknowledged=ledger.number,
                behind_bytes=behind_bytes,
                behind_seconds=round(age, 1) if ledger.last_ingestion_us else None,
            )
            return
        from rich.text import Text

        from k2cli.display.numbers import duration_text, size_text

        parts = [
            f"{ledger.trades:,} published",
            f"{rate:,.0f}/s",
            f"acknowledged to {ledger.number:,}",
            f"{size_text(behind_bytes)} behind" if behind_bytes else "nothing behind",
        ]
        if ledger.last_ingestion_us:
            parts.append(f"last one {duration_text(age)} old")
        line = Text("  ".join([*parts, str(self._target)]), no_wrap=True)
        line.truncate(self._console.width - 1)
        self._live.update(line, refresh=True)


def _tell(publisher: Publisher, target: Target, refused: int) -> None:
    """Print the ledger: a line per symbol, and the verdict."""
    from k2cli.display.numbers import counted
    from k2cli.errors import printable

    ledger = publisher.ledger
    if not ledger.number:
        return  # it did not come so far
    for symbol, account in sorted(ledger.symbols.items()):
        missing = f", {account.missing:,} missing" if account.missing else ""
        typer.echo(
            f"{printable(symbol, 40):12} {counted(account.trades, 'trade')}, "
            f"ids up to {account.last_id}{missing}",
            err=True,
        )
    found = f"{ledger.missing:,} missing" if ledger.missing else "nothing missing"
    if refused:
        found += f", {refused:,} refused"
    typer.echo(
        f"published: {counted(ledger.trades, 'trade')} of "
        f"{counted(len(ledger.symbols), 'symbol')} to {target}, {found}; "
        f"acknowledged to number {ledger.number:,}",
        err=True,
    )
