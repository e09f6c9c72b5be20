"""Kafka: transactions that carry the position in the capture along."""

from __future__ import annotations

import logging
import math
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from k2cli.errors import LogRefused, LogUnreachable, SettingsError
from k2cli.extras import import_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from k2cli.publish.destination import Capture, Record, Target

_ANSWER_SECONDS = 10.0
_FIND_SECONDS = 5.0
_CONSUME_SECONDS = 0.1
# By then every transaction that was open has ended, or has been ended by the broker.
_SETTLING_SECONDS = 65.0
# A transaction that was left open blocks readers until then.
_TRANSACTION_MS = 60_000
_POLL_EVERY = 1_000
# The answers to which there is no use in asking again.
_FENCED = ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH")
_REFUSALS = (
    "_AUTHENTICATION",
    "SASL_AUTHENTICATION_FAILED",
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "MSG_SIZE_TOO_LARGE",
    "POLICY_VIOLATION",
    "INVALID_TOPIC_EXCEPTION",
    "INVALID_REPLICATION_FACTOR",
    "UNSUPPORTED_VERSION",
)


def json_value(record: Record) -> bytes:
    """Return a record as its line."""
    return record.line


class KafkaDestination:
    """Hands records on to a topic: key is the symbol, time is the trade's.

    Every batch is one transaction, which commits the number of the next record as a
    consumer group's offset, too: after a crash on either side, both are there or none.

    Args:
        target: The topic.
        encode: Makes a record's value; ``None`` for one that is not to be sent.
        partitions: Partitions of a topic that does not exist; ``None`` not to make it.
        on_warning: Called with what the user should know, in a line.

    Raises:
        SettingsError: If the client is not installed, or its settings are wrong.
    """

    def __init__(
        self,
        target: Target,
        *,
        encode: Callable[[Record], bytes | None] = json_value,
        partitions: int | None = None,
        on_warning: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._kafka = client()
        self._target = target
        self._encode = encode
        self._partitions = partitions
        self._on_warning = on_warning
        # How old a trade may be before the log deletes it; None for any age.
        self._retention_seconds: float | None = None
        self._is_warned = False
        self._errors = _Errors(target, self._kafka)
        self._producer: Any = None
        self._group: Any = None
        self._next_number = 0

    def open(self, capture: Capture) -> int:
        """Take the capture over: a publisher before this one is shut out."""
        self.close()
        self._errors.transaction_seconds = math.inf
        name = f"k2-publish-{capture.identity}"
        settings = _settings(self._target, self._errors)
        with self._errors.explained():
            self._producer = self._kafka.Producer(
                {
                    "compression.type": "lz4",
                    "linger.ms": 10,
                    # A transaction that follows another at once is put off for this.
                    "retry.backoff.ms": 20,
                    "queue.buffering.max.kbytes": 65_536,
                    "topic.metadata.propagation.max.ms": 5_000,
                    **settings,
                    "transactional.id": name,
                    "transaction.timeout.ms": _TRANSACTION_MS,
                    # Where Java's clients put a key.
                    "partitioner": "murmur2_random",
                },
                logger=_LOGGER,
            )
            self._errors.poll = self._producer.poll
            self._find_topic(settings)
            self._retention_seconds = self._retention(settings)
            self._producer.init_transactions(_ANSWER_SECONDS)
            position = self._committed(settings, name)
        if position < self._next_number:
            raise LogRefused(
                f"{self._target} has forgotten how far it was: at {position:,} now, "
                f"after {self._next_number:,}",
                "Was the topic deleted? Start k2 publish again, if it may begin anew",
            )
        self._next_number = position
        return position

    def send(self, records: Sequence[Record]) -> Sequence[Record]:
        """Hand records on in one transaction."""
        producer, topic = self._producer, self._target.name
        sent = []
        self._warn_of_retention(records[0])
        self._errors.transaction_seconds = time.time()
        with self._errors.explained():
            producer.begin_transaction()
            for index, record in enumerate(records):
                value = self._encode(record)
                if value is not None:
                    sent.append(record)
                    producer.produce(
                        topic,
                        value,
                        record.symbol,
                        timestamp=record.time_us // 1000,
                    )
                if index % _POLL_EVERY == 0:
                    producer.poll(0)
            position = self._kafka.TopicPartition(topic, 0, records[-1].number + 1)
            self._commit(producer, position)
        self._errors.transaction_seconds = math.inf
        self._next_number = records[-1].number + 1
        return sent

    def _commit(self, producer: Any, position: Any) -> None:
        """Commit a transaction with its position, or give up after a time.

        The client's own time limit does not hold where the group's coordinator comes
        back after a crash (librdkafka 2.16: send_offsets_to_transaction blocks for
        good). Whoever opens the destination anew ends that call, too.
        """
        ends: SimpleQueue[Exception | None] = SimpleQueue()

        def commit() -> None:
            try:
                producer.send_offsets_to_transaction(
                    [position], self._group, _ANSWER_SECONDS
                )
                producer.commit_transaction(_ANSWER_SECONDS)
            except Exception as exc:
                ends.put(exc)
            else:
                ends.put(None)

        Thread(target=commit, daemon=True).start()
        try:
            error = ends.get(timeout=2 * _ANSWER_SECONDS)
        except Empty:
            raise self._target.unreachable("a commit is not answered") from None
        if error is not None:
            raise error

    def close(self) -> None:
        """Leave; what was not committed is undone by whoever comes next."""
        if self._producer is not None:
            self._errors.poll = lambda seconds: None
            self._producer.purge()
            self._producer = None

    def _find_topic(self, settings: dict[str, Any]) -> None:
        # Asking for one topic by name would make it, where brokers do that.
        topics = self._producer.list_topics(timeout=_FIND_SECONDS).topics
        name = self._target.name
        if name in topics:
            return
        if self._partitions is None or self._next_number:
            raise LogRefused(
                f"there is no topic {self._target.cleaned(name)}",
                "Make it: add --create, or kafka-topics.sh --create "
                f"--topic {self._target.cleaned(name)} --partitions 40",
            )
        admin = import_module("confluent_kafka.admin")
        wanted = admin.NewTopic(
            name, num_partitions=self._partitions, replication_factor=-1
        )
        # It has to live until the answer is there.
        administrator = admin.AdminClient(settings, logger=_LOGGER)
        administrator.create_topics([wanted])[name].result(_ANSWER_SECONDS)

    def _retention(self, settings: dict[str, Any]) -> float | None:
        """Return after how many seconds the topic deletes a message, by its time."""
        admin = import_module("confluent_kafka.admin")
        topic = admin.ConfigResource(admin.ResourceType.TOPIC, self._target.name)
        administrator = admin.AdminClient(settings, logger=_LOGGER)
        try:
            asked = administrator.describe_configs([topic])[topic]
            found = {
                name: one.value for name, one in asked.result(_FIND_SECONDS).items()
            }
        except (self._kafka.KafkaException, TimeoutError):
            return None  # not everybody may ask
        by_its_time = found.get("message.timestamp.type") != "LogAppendTime"
        deletes = "delete" in found.get("cleanup.policy", "")
        milliseconds = int(found.get("retention.ms", -1))
        if not (by_its_time and deletes and milliseconds >= 0):
            return None
        return milliseconds / 1000

    def _warn_of_retention(self, record: Record) -> None:
        """Say once that what comes next is deleted as soon as it has come."""
        retention_seconds = self._retention_seconds
        if retention_seconds is None or self._is_warned:
            return
        # Those behind it are hardly older.
        self._is_warned = True
        age_seconds = time.time() - record.time_us / 1e6
        if age_seconds > retention_seconds:
            self._on_warning(
                f"{self._target} deletes what is older than "
                f"{_span(retention_seconds)}, and the next trade is "
                f"{_span(age_seconds)} old: raise its retention.ms first"
            )

    def _committed(self, settings: dict[str, Any], name: str) -> int:
        consumer = self._kafka.Consumer(
            settings | {"group.id": name, "enable.auto.commit": False}, logger=_LOGGER
        )
        try:
            place = self._kafka.TopicPartition(self._target.name, 0)
            (found,) = consumer.committed([place], _ANSWER_SECONDS)
            if found.error is not None:
                raise self._kafka.KafkaException(found.error)
            self._group = consumer.consumer_group_metadata()
        finally:
            consumer.close()
        return max(int(found.offset), 1)


def messages(
    target: Target, on_deleted: Callable[[int, int], None], batch: int = 10_000
) -> Iterator[tuple[int, int, bytes]]:
    """Read what a topic holds now, without what was not committed.

    Args:
        target: The topic.
        on_deleted: Called with a partition whose beginning is gone, and its size.
        batch: Messages to fetch at once.

    Yields:
        Partition, offset and value of each message.

    Raises:
        LogUnreachable: If no broker answers.
        LogRefused: If there is no such topic, or it must not be read.
    """
    kafka = client()
    errors = _Errors(target, kafka)
    settings = _settings(target, errors) | {
        "group.id": "k2-verify",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        # What is deleted while it is read is missing then, and not the end.
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "queued.max.messages.kbytes": 16_384,
        # At the end of a partition, a broker waits for so long for more.
        "fetch.wait.max.ms": 50,
    }
    with errors.explained():
        consumer = kafka.Consumer(settings, logger=_LOGGER)
        try:
            bounds = _bounds(kafka, settings, target)
            rest = {partition: high for partition, (_, high) in bounds.items()}
            for partition, (low, _) in bounds.items():
                if low:
                    on_deleted(partition, low)
            consumer.assign(
                [
                    kafka.TopicPartition(target.name, partition, low)
                    for partition, (low, _) in bounds.items()
                ]
            )
            silent_seconds = 0.0
            while rest and silent_seconds < _SETTLING_SECONDS:
                # It waits for a whole batch, if it may.
                found = consumer.consume(batch, _CONSUME_SECONDS)
                silent_seconds = 0.0 if found else silent_seconds + _CONSUME_SECONDS
                for message in found:
                    error = message.error()
                    if error is None:
                        yield message.partition(), message.offset(), message.value()
                    elif error.name() != "_PARTITION_EOF":
                        raise kafka.KafkaException(error)
                    elif message.offset() >= rest.get(message.partition(), 0):
                        rest.pop(message.partition(), None)
            if rest:
                raise LogUnreachable(
                    f"{target} cannot be read to its end: {len(rest)} partitions are "
                    "silent, or have a transaction that does not end",
                    "Try again when it is well",
                )
        finally:
            consumer.close()


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))).removesuffix(", 0:00:00")


def _bounds(
    kafka: Any, settings: dict[str, Any], target: Target
) -> dict[int, tuple[int, int]]:
    """Return where each partition begins and ends, with what is not committed yet.

    A transaction that was committed this moment shows a moment later.
    """
    consumer = kafka.Consumer(
        settings | {"isolation.level": "read_uncommitted"}, logger=_LOGGER
    )
    try:
        topics = consumer.list_topics(timeout=_FIND_SECONDS).topics
        if target.name not in topics:
            raise LogRefused(
                f"there is no topic {target.cleaned(target.name)}", "Name another"
            )
        return {
            number: consumer.get_watermark_offsets(
                kafka.TopicPartition(target.name, number), _ANSWER_SECONDS
            )
            for number in topics[target.name].partitions
        }
    finally:
        consumer.close()


class _Errors:
    """Turns the client's errors into ours, without secrets."""

    def __init__(self, target: Target, kafka: Any) -> None:
        self._target = target
        self._kafka = kafka
        self.latest: Any = None
        # When the transaction began that is open, Unix time.
        self.transaction_seconds = math.inf
        # Brings what the client says in the background.
        self.poll: Callable[[float], object] = lambda seconds: None

    def note(self, error: Any) -> None:
        """Keep what the client says in the background: mostly the real reason."""
        self.latest = error

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise our errors for the client's."""
        try:
            yield
        except (self._kafka.KafkaException, BufferError, TimeoutError) as exc:
            raise self._of(exc) from None  # what is behind it may hold secrets

    def _of(self, exc: Exception) -> Exception:
        error = exc.args[0] if exc.args else exc
        name = getattr(error, "name", lambda: "")()
        # A client that has failed for good, or is closed, says so here once more.
        with suppress(self._kafka.KafkaException, RuntimeError):
            self.poll(0)
        if name in _FENCED:
            stood_seconds = time.time() - self.transaction_seconds
            if stood_seconds > _TRANSACTION_MS / 1000:
                # The broker ends a transaction that stands still in the same way.
                return LogRefused(
                    f"this publisher stood still for {stood_seconds:.0f} s, and "
                    f"{self._target} has shut it out; another one may have taken over",
                    "If none has, start it again: it goes on from there",
                )
            return LogRefused(
                f"another publisher of this capture has taken over {self._target}",
                "One is enough: this one has stopped",
            )
        background = getattr(self.latest, "name", lambda: "")()
        if background in _REFUSALS:
            name, error = background, self.latest
        text = getattr(error, "str", lambda: str(error) or "no answer")()
        shown = self._target.cleaned(text).rstrip(".")
        if name in _REFUSALS:
            return self._target.refusal(shown)
        if name in ("_INVALID_ARG", "_UNKNOWN_PROPERTY", "_CONFLICT"):
            return SettingsError(
                f"the Kafka client does not take its settings: {shown}",
                "See the URL's options and --to-config",
            )
        if self.latest is not None and name != self.latest.name():
            shown += f" ({self._target.cleaned(self.latest.str())})"
        return self._target.unreachable(shown)


def _settings(target: Target, errors: _Errors) -> dict[str, Any]:
    return {
        "bootstrap.servers": target.hosts,
        **target.options,
        "client.id": "k2",
        "error_cb": errors.note,
    }


# The client's own words, which come by the dozen and may quote its settings.
_LOGGER = logging.getLogger("k2cli.publish.silent")
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.propagate = False


def client() -> Any:
    """Return the client library.

    Raises:
        SettingsError: If it is not installed.
    """
    return import_extra(
        "confluent_kafka", what="Kafka", package="confluent-kafka", extra="kafka"
    )
