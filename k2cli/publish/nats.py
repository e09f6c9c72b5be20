"""NATS JetStream: every message says which one it follows on its subject."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from k2cli.errors import K2Error, LogRefused, SettingsError
from k2cli.extras import import_extra
from k2cli.publish.destination import BATCH_RECORDS, Capture, Record, Target

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Callable,
        Coroutine,
        Iterator,
        Sequence,
    )

_Result = TypeVar("_Result")

_ANSWER_SECONDS = 10.0
_CLOSING_SECONDS = 2.0
# Messages on the way at once; a server holds them all in memory.
_WINDOW = 2_000
_LOOKUPS_AT_ONCE = 50
_CAPTURE_HEADER = "K2-Capture"
_AFTER_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
_AFTER_MESSAGE = "Nats-Expected-Last-Msg-Id"
# Wrong last message, wrong last sequence.
_NOT_NEXT = (10_070, 10_071)
_UNAVAILABLE = 503
# Words in answers that trying again does not change.
_REFUSALS = ("authorization", "permissions", "maximum")
_FILES = {"tls_ca", "tls_cert", "tls_key"}
_OPTIONS = {"user", "password", "token", "user_credentials", "nkeys_seed"} | _FILES


class _Replies:
    """Collects the acknowledgements of a batch.

    The client's own publish_async raises what the server refuses in the wrong place,
    and nobody hears of it (nats-py 2.16).
    """

    def __init__(self, inbox: str) -> None:
        self._inbox = inbox
        self._batch = 0
        self._answers: list[dict[str, Any]] = []
        self._open = 0
        self._complete = asyncio.Event()

    @classmethod
    async def subscribed(cls, connection: Any) -> _Replies:
        """Make one that listens."""
        replies = cls(connection.new_inbox())
        await connection.subscribe(f"{replies._inbox}.*.*", cb=replies._take)
        return replies

    def expect(self, count: int) -> None:
        """Begin a batch."""
        self._batch += 1
        self._answers = [{} for _ in range(count)]
        self._open = count
        self._complete.clear()

    def address(self, index: int) -> str:
        """Return where a message of the batch is to be answered."""
        return f"{self._inbox}.{self._batch}.{index}"

    async def all(self, lost: asyncio.Event) -> list[dict[str, Any]]:
        """Wait for all answers.

        Raises:
            TimeoutError: If one does not come.
        """
        ends = {asyncio.ensure_future(one.wait()) for one in (lost, self._complete)}
        await asyncio.wait(
            ends, timeout=_ANSWER_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        for one in ends:
            one.cancel()
        if self._open:
            raise TimeoutError("no acknowledgement")
        return self._answers

    async def _take(self, message: Any) -> None:
        _, batch, index = message.subject.rsplit(".", 2)
        if int(batch) != self._batch:
            return
        self._answers[int(index)] = (
            orjson.loads(message.data)
            if message.data
            else {"error": {"code": _UNAVAILABLE, "description": "no responders"}}
        )
        self._open -= 1
        if not self._open:
            self._complete.set()


@dataclass(slots=True)
class _Last:
    """The last message of a subject: its sequence in the stream, and its trade id."""

    sequence: int
    trade_id: int


class NatsDestination:
    """Hands records on to a stream, on the subjects ``trades.<exchange>.<symbol>``.

    Args:
        target: The stream.
        create: Whether to make a stream that does not exist.

    Raises:
        SettingsError: If the client is not installed, or its settings are wrong.
    """

    def __init__(self, target: Target, *, create: bool = False) -> None:
        client()
        self._target = target
        self._create = create
        self._runner = asyncio.Runner()
        self._connection: Any = None
        self._stream: Any = None
        self._replies: Any = None
        self._lost = asyncio.Event()
        self._capture = Capture("", "")
        self._last: dict[str, _Last] = {}
        # The highest one acknowledged: a stream that counts anew is another one.
        self._sequence = 0
        # With other writers on other subjects, messages cannot follow each other.
        self._is_alone = True

    def open(self, capture: Capture) -> int:
        """Read how far every symbol has come."""
        self._capture = capture
        return self._run(self._open())

    def send(self, records: Sequence[Record]) -> Sequence[Record]:
        """Hand records on, and wait for all their acknowledgements."""
        return self._run(self._send(records))

    def close(self) -> None:
        """Disconnect."""
        with suppress(K2Error):
            self._run(_closed(self._connection))
        self._runner.close()

    def _run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        with _explained(self._target):
            return self._runner.run(coroutine)

    async def _open(self) -> int:
        await _closed(self._connection)
        self._lost = asyncio.Event()
        self._connection = await _connected(self._target, self._lost)
        self._stream = self._connection.jetstream(timeout=_ANSWER_SECONDS)
        self._replies = await _Replies.subscribed(self._connection)
        subjects = f"trades.{_token(self._capture.exchange)}.>"
        found = await self._find_stream(subjects)
        if found.state.last_seq < self._sequence:
            raise LogRefused(
                f"{self._target} has forgotten how far it was: at "
                f"{found.state.last_seq:,} now, after {self._sequence:,}",
                "Was the stream deleted? Start k2 publish again, if it may begin anew",
            )
        self._last = {}
        number = 0
        names = list(found.state.subjects or {})
        for start in range(0, len(names), _LOOKUPS_AT_ONCE):
            some = names[start : start + _LOOKUPS_AT_ONCE]
            numbers = await asyncio.gather(*(self._look_up(name) for name in some))
            number = max(number, *numbers)
        # Batches go one after another: all before the last one are there.
        return max(number + 1 - BATCH_RECORDS, 1)

    async def _find_stream(self, subjects: str) -> Any:
        errors = import_module("nats.js.errors")
        name = self._target.name
        try:
            return await self._stream.stream_info(name, subjects_filter=subjects)
        except errors.NotFoundError:
            if not self._create or self._sequence:
                raise LogRefused(
                    f"there is no stream {self._target.cleaned(name)}",
                    "Make it: add --create, or nats stream add "
                    f"{self._target.cleaned(name)} --subjects '{subjects}'",
                ) from None
        await self._stream.add_stream(name=name, subjects=[subjects])
        return await self._stream.stream_info(name, subjects_filter=subjects)

    async def _look_up(self, subject: str) -> int:
        """Note a subject's last message; return its number, if of this capture."""
        message = await self._stream.get_last_msg(self._target.name, subject)
        trade = orjson.loads(message.data)
        self._last[subject] = _Last(message.seq, trade["source_sequence"])
        headers = message.headers or {}
        is_ours = headers.get(_CAPTURE_HEADER) == self._capture.identity
        return int(trade["platform_sequence"]) if is_ours else 0

    async def _send(self, records: Sequence[Record]) -> list[Record]:
        waiting = [(self._subject(record), record) for record in records]
        waiting = [
            (subject, record)
            for subject, record in waiting
            if subject not in self._last
            or record.trade_id > self._last[subject].trade_id
        ]
        new = [record for _, record in waiting]
        while waiting:
            now, later = waiting[:_WINDOW], waiting[_WINDOW:]
            if not self._is_alone:
                now, later = _first_of_each(waiting)
            waiting = [*await self._exchange(now), *later]
        return new

    async def _exchange(
        self, batch: list[tuple[str, Record]]
    ) -> list[tuple[str, Record]]:
        """Send messages at once; return those that are to be sent again."""
        replies = self._replies
        replies.expect(len(batch))
        seen: set[str] = set()
        before = ""
        for index, (subject, record) in enumerate(batch):
            message_id = _message_id(record)
            headers = {
                "Nats-Msg-Id": message_id,
                "Nats-Expected-Stream": self._target.name,
                _CAPTURE_HEADER: self._capture.identity,
            }
            if subject not in seen:
                last = self._last.get(subject)
                headers[_AFTER_SEQUENCE] = str(last.sequence if last else 0)
                seen.add(subject)
            if before and self._is_alone:
                # Once one is refused, so are all behind it: none overtakes another.
                headers[_AFTER_MESSAGE] = before
            before = message_id
            await self._connection.publish(
                subject, record.line, replies.address(index), headers
            )
        again = []
        answers = await replies.all(self._lost)
        for (subject, record), answer in zip(batch, answers, strict=True):
            error = answer.get("error")
            if error is None:
                self._last[subject] = _Last(answer["seq"], record.trade_id)
                self._sequence = max(self._sequence, answer["seq"])
            elif error.get("err_code") in _NOT_NEXT:
                again.append((subject, record))
            else:
                raise self._error(error)
        if again:
            await self._see_who_writes(again)
        return again

    def _error(self, error: dict[str, Any]) -> Exception:
        shown = self._target.cleaned(error.get("description"))
        if error.get("code") == _UNAVAILABLE:
            return TimeoutError(shown)
        return self._target.refusal(shown)

    async def _see_who_writes(self, refused: list[tuple[str, Record]]) -> None:
        """Tell a second publisher of these trades from one of others."""
        self._is_alone = False
        for subject in dict.fromkeys(subject for subject, _ in refused):
            before = self._last.get(subject)
            await self._look_up(subject)
            if before is None or self._last[subject].trade_id != before.trade_id:
                raise LogRefused(
                    f"another publisher of these trades writes to {self._target}",
                    "One is enough: this one has stopped",
                )

    def _subject(self, record: Record) -> str:
        return f"trades.{_token(record.exchange)}.{_token(record.symbol)}"


def messages(
    target: Target, on_deleted: Callable[[int, int], None]
) -> Iterator[tuple[int, int, bytes]]:
    """Read what a stream holds now.

    Args:
        target: The stream.
        on_deleted: Called with 0 and how many messages of its beginning are gone.

    Yields:
        0, the sequence in the stream, and the content of each message.

    Raises:
        LogUnreachable: If the server does not answer.
        LogRefused: If there is no such stream.
    """
    client()
    reading = _messages(target, on_deleted)

    async def read() -> list[tuple[int, int, bytes]]:
        return await anext(reading, [])

    # It ends the client's own tasks, too.
    with asyncio.Runner() as runner, _explained(target):
        while found := runner.run(read()):
            yield from found


async def _messages(
    target: Target, on_deleted: Callable[[int, int], None]
) -> AsyncGenerator[list[tuple[int, int, bytes]]]:
    errors = import_module("nats.js.errors")
    lost = asyncio.Event()
    connection = await _connected(target, lost)
    try:
        stream = connection.jetstream(timeout=_ANSWER_SECONDS)
        try:
            found = await stream.stream_info(target.name)
        except errors.NotFoundError:
            raise LogRefused(
                f"there is no stream {target.cleaned(target.name)}", "Name another"
            ) from None
        if found.state.first_seq > 1:
            on_deleted(0, found.state.first_seq - 1)
        if not found.state.messages:
            return
        api = import_module("nats.js.api")
        consumer = await stream.add_consumer(
            target.name,
            api.ConsumerConfig(
                filter_subject="trades.>",
                ack_policy=api.AckPolicy.NONE,
                deliver_policy=api.DeliverPolicy.ALL,
            ),
        )
        # The client's own subscriptions take a timer for every message.
        taken: asyncio.Queue[Any] = asyncio.Queue()
        inbox = connection.new_inbox()
        await connection.subscribe(inbox, cb=taken.put)
        address = f"$JS.API.CONSUMER.MSG.NEXT.{target.name}.{consumer.name}"
        request = orjson.dumps({"batch": _WINDOW, "no_wait": True})
        sequence = 0
        while sequence < found.state.last_seq:
            await connection.publish(address, request, reply=inbox)
            some: list[tuple[int, int, bytes]] = []
            while len(some) < _WINDOW:
                if taken.empty():
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        message = await taken.get()
                else:
                    message = taken.get_nowait()
                if not message.reply:
                    break  # a status: there are no more at the moment
                sequence = message.metadata.sequence.stream
                some.append((0, sequence, message.data))
            if not some:
                return
            yield some
    finally:
        await connection.close()


def _first_of_each(
    waiting: list[tuple[str, Record]],
) -> tuple[list[tuple[str, Record]], list[tuple[str, Record]]]:
    """Divide messages: the first of each subject, and the rest."""
    first: dict[str, tuple[str, Record]] = {}
    rest = []
    for subject, record in waiting:
        if subject in first:
            rest.append((subject, record))
        else:
            first[subject] = (subject, record)
    return list(first.values()), rest


def _token(text: str) -> str:
    """Return a text as a part of a subject."""
    return "".join(
        f"%{ord(one):02X}" if one in ".*>%" or one.isspace() else one for one in text
    )


def _message_id(record: Record) -> str:
    return f"{record.exchange}-{record.symbol}-{record.trade_id}"


async def _connected(target: Target, lost: asyncio.Event) -> Any:
    unknown = set(target.options) - _OPTIONS
    if unknown:
        raise SettingsError(
            f"NATS has no setting {target.cleaned(min(unknown))}",
            f"There are {', '.join(sorted(_OPTIONS))}",
        )
    options: dict[str, Any] = {
        key: value for key, value in target.options.items() if key not in _FILES
    }
    if "nkeys_seed" in options:
        options["nkeys_seed_str"] = options.pop("nkeys_seed")
    if _FILES & set(target.options):
        options["tls"] = _tls(target)
        logging.getLogger("asyncio").addFilter(_matters)

    async def note(*_: Any) -> None:
        lost.set()

    async def ignore(_: Exception) -> None:
        pass  # what matters comes back to whoever asked

    # Trying again is ours: we have to look how far it came.
    async with asyncio.timeout(_ANSWER_SECONDS):
        return await client().connect(
            [f"nats://{host}" for host in target.hosts.split(",")],
            name="k2",
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=_ANSWER_SECONDS,
            disconnected_cb=note,
            closed_cb=note,
            error_cb=ignore,
            **options,
        )


def _matters(record: logging.LogRecord) -> bool:
    """Leave out what asyncio remarks on the end of a connection that changed to TLS."""
    return "eof_received" not in str(record.msg)


def _tls(target: Target) -> Any:
    import ssl

    try:
        context = ssl.create_default_context(cafile=target.options.get("tls_ca"))
        if "tls_cert" in target.options:
            context.load_cert_chain(
                target.options["tls_cert"], target.options.get("tls_key")
            )
    except OSError as exc:
        raise SettingsError(
            f"a file of tls_ca, tls_cert or tls_key cannot be used: "
            f"{target.cleaned(exc.strerror or exc)}",
            "See the URL's options and --to-config",
        ) from None
    return context


async def _closed(connection: Any) -> None:
    if connection is not None and not connection.is_closed:
        with suppress(TimeoutError, OSError, import_module("nats.errors").Error):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await connection.close()


@contextmanager
def _explained(target: Target) -> Iterator[None]:
    """Turn the client's errors into ours, without secrets."""
    errors = import_module("nats.errors")
    try:
        yield
    except (errors.Error, OSError, TimeoutError, EOFError) as exc:
        text = getattr(exc, "description", None) or str(exc) or type(exc).__name__
        shown = target.cleaned(str(text).removeprefix("nats: ")).strip("'.")
        if shown == "Authorization Violation":
            raise target.refusal("it does not take these credentials") from None
        if getattr(exc, "code", None) == 400 or any(
            word in shown.lower() for word in _REFUSALS
        ):
            raise target.refusal(shown) from None  # what is behind may hold secrets
        raise target.unreachable(shown) from None


def client() -> Any:
    """Return the client library.

    Raises:
        SettingsError: If it is not installed.
    """
    return import_extra("nats", what="NATS", package="nats-py", extra="nats")
