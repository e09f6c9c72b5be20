"""Two feeds of the same trades: each trade comes from the one that is first with it.

Each feed brings a symbol's trades by ascending id, but one may lag behind the other,
and either jumps over ids when its connection is lost and made again. The other one
brings those, so what comes behind a jump waits for it a moment: whoever takes the
trades sees no gap.
"""

from __future__ import annotations

from collections import defaultdict, deque
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from k2cli.trade import TradeBatch

WAIT_SECONDS = 3.0
"""How long trades behind a jump wait for what the other feed may still bring."""

MOST_WAITING = 20_000
"""How many trades wait at once; beyond that all are handed on."""

# The end of a feed that has brought nothing yet: no id comes next to it.
_NOWHERE = -2
# Earlier ranges of a feed that are kept until the other one has passed them.
_EARLIER_RANGES = 16


class Feed:
    """One of two feeds. Of each symbol, it has brought a range of ids last.

    Where it has jumped, ranges before that one are kept until the other feed has come
    as far.

    Args:
        name: What to call it.

    Attributes:
        other: The other feed.
        host: Where its trades come from at present.
        is_live: Whether trades may come.
        since_seconds: Since when its connection is the present one, by the clock.
        starts: First id of the range, by symbol.
        ends: Last id of it.
        unusual: Symbols whose next trade takes more than a look at the two ends.
        trails: Whether the other feed has been first with what it has brought of late.
    """

    other: Feed

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = ""
        self.is_live = False
        self.since_seconds = 0.0
        self.starts: dict[str, int] = defaultdict(lambda: _NOWHERE)
        self.ends: dict[str, int] = defaultdict(lambda: _NOWHERE)
        self.unusual: set[str] = set()
        self.trails = False
        self._earlier: dict[str, deque[tuple[int, int]]] = {}

    def has(self, symbol: str, trade_id: int) -> bool:
        """Return whether it has brought an id, as far as it is kept."""
        if self.starts[symbol] <= trade_id <= self.ends[symbol]:
            return True
        earlier = self._earlier.get(symbol, ())
        return any(start <= trade_id <= end for start, end in earlier)

    def add(self, symbol: str, trade_id: int) -> None:
        """Add an id that it has not brought yet."""
        start, end = self.starts[symbol], self.ends[symbol]
        if trade_id == start - 1:
            # Two have changed places.
            self.starts[symbol] = trade_id
            return
        self.ends[symbol] = trade_id
        if trade_id != end + 1:
            self.starts[symbol] = trade_id
            if self.other.is_live and self.other.ends[symbol] < end:
                earlier = self._earlier.setdefault(
                    symbol, deque(maxlen=_EARLIER_RANGES)
                )
                earlier.append((start, end))

    def note_unusual(self, symbol: str, *, waits: bool) -> None:
        """Find out whether the next id may be other than new or known.

        It may if something waits, and as long as the feed has not come to where the
        other's range begins.
        """
        if self.ends[symbol] >= self.other.starts[symbol] - 1:
            self.other._earlier.pop(symbol, None)  # noqa: SLF001 - of the same class
            if not waits:
                self.unusual.discard(symbol)
                return
        self.unusual.add(symbol)


class _Verdict(Enum):
    NEW = "nobody has brought it"
    KNOWN = "the other feed has brought it"
    EARLY = "the other feed may still bring what is missing before it"
    REPEATED = "its own feed has brought it before"


class _Early(NamedTuple):
    """A trade that waits, a batch of one."""

    trade_id: int
    trade: TradeBatch
    since_seconds: float


class _Queue(NamedTuple):
    """The trades of a symbol that wait, all of one feed, in its order."""

    feed: Feed
    trades: deque[_Early]


class Arbiter:
    """Takes the trades of two feeds, and hands each on once.

    A trade waits if its feed jumps to it over ids that nobody has brought, until the
    other feed has brought them or has come that far without, is down, or has had
    ``WAIT_SECONDS``. What a feed itself repeats is handed on: it may be a new count.

    Args:
        first_with: Is to count the trades that each feed brings first, by its name and
            host.
        clock: Returns monotonic seconds.

    Attributes:
        feeds: The two.
        waiting: How many trades wait.
    """

    def __init__(
        self, first_with: Counter[tuple[str, str]], *, clock: Callable[[], float]
    ) -> None:
        self._first_with = first_with
        self._clock = clock
        self.feeds = first, second = Feed("A"), Feed("B")
        first.other, second.other = second, first
        self.waiting = 0
        self._queues: dict[str, _Queue] = {}
        # When it was looked how far the feeds have come, and what was found.
        self._looks: deque[tuple[float, dict[Feed, dict[str, int]]]] = deque(maxlen=2)

    def count_known(
        self, feed: Feed, symbols: Sequence[str], trade_ids: Sequence[str]
    ) -> int:
        """Take what a feed has brought, up to the first trade that may be new.

        Args:
            feed: Which one.
            symbols: Of each trade.
            trade_ids: Of each trade.

        Returns:
            How many trades were taken: the other feed has brought them before.
        """
        ends, other_ends, unusual = feed.ends, feed.other.ends, feed.unusual
        known = 0
        for symbol, trade_id in zip(symbols, map(int, trade_ids), strict=True):
            if (
                trade_id - 1 != ends[symbol]
                or trade_id > other_ends[symbol]
                or symbol in unusual
            ):
                break
            ends[symbol] = trade_id
            known += 1
        feed.trails = known == len(symbols)
        return known

    def receive(
        self,
        feed: Feed,
        symbols: Sequence[str],
        trade_ids: Sequence[str],
        select: Callable[[Sequence[int]], TradeBatch],
    ) -> list[TradeBatch]:
        """Take what a feed has brought.

        Args:
            feed: Which one.
            symbols: Of each trade.
            trade_ids: Of each trade.
            select: Makes a batch of the trades at some indexes.

        Returns:
            What is to be handed on, in this order.
        """
        ends, other_ends, unusual = feed.ends, feed.other.ends, feed.unusual
        # Indexes of new trades, and among them what has waited.
        handed_on: list[int | TradeBatch] = []
        first_with, index, has_waited = 0, -1, False
        for symbol, trade_id in zip(symbols, map(int, trade_ids), strict=True):
            index += 1
            if trade_id - 1 == ends[symbol] and symbol not in unusual:
                ends[symbol] = trade_id
                if trade_id > other_ends[symbol]:
                    handed_on.append(index)
                    first_with += 1
                continue
            verdict = self._judge(feed, symbol, trade_id)
            first_with += verdict in (_Verdict.NEW, _Verdict.EARLY)
            freed = self._freed_by(feed, symbol, trade_id, verdict)
            has_waited = has_waited or bool(freed)
            handed_on += [one.trade for one in freed if one.trade_id < trade_id]
            if verdict is _Verdict.EARLY:
                self._let_wait(feed, symbol, trade_id, select([index]))
            elif verdict is not _Verdict.KNOWN:
                handed_on.append(index)
            handed_on += [one.trade for one in freed if one.trade_id >= trade_id]
            self._note_unusual(symbol)
        self._first_with[feed.name, feed.host] += first_with
        feed.trails = not (first_with or handed_on)
        batches = _joined(handed_on, select) if has_waited else []
        if handed_on and not has_waited:
            batches = [select(handed_on)]  # type: ignore[arg-type]  # indexes only
        return batches if self.waiting <= MOST_WAITING else [*batches, *self.rest()]

    def due_in_seconds(self) -> float | None:
        """Return how long the next trade may wait; ``None`` if none waits."""
        if any(not queue.feed.other.is_live for queue in self._queues.values()):
            return 0.0
        since_seconds = min(
            (queue.trades[0].since_seconds for queue in self._queues.values()),
            default=None,
        )
        if since_seconds is None:
            return None
        return max(since_seconds + WAIT_SECONDS - self._clock(), 0.0)

    def due(self) -> list[TradeBatch]:
        """Return what has waited for long enough, or for a feed that is down."""
        until_seconds = self._clock() - WAIT_SECONDS
        due: list[TradeBatch] = []
        for symbol, (feed, trades) in list(self._queues.items()):
            while trades and (
                not feed.other.is_live or trades[0].since_seconds <= until_seconds
            ):
                due += [one.trade for one in self._take_run(trades)]
            self._end_queue(symbol)
        return due

    def rest(self) -> list[TradeBatch]:
        """Return all that waits."""
        rest = [one.trade for queue in self._queues.values() for one in queue.trades]
        for symbol, queue in list(self._queues.items()):
            self.waiting -= len(queue.trades)
            queue.trades.clear()
            self._end_queue(symbol)
        return rest

    def look(self) -> list[tuple[Feed, str]]:
        """Look how far the feeds have come, and find those that lack a symbol.

        Call it now and then. What one feed has brought between the last two calls, the
        other one should have brought by now, if it was live all the time.

        Returns:
            Feeds, each with a symbol that it lacks.
        """
        found = []
        if len(self._looks) == self._looks.maxlen:
            (first_seconds, first), (_, second) = self._looks
            for feed in self.feeds:
                other = feed.other
                if not feed.is_live or feed.since_seconds > first_seconds:
                    continue
                for symbol, end in second[other].items():
                    brought = first[other].get(symbol, _NOWHERE) < end
                    if brought and feed.ends[symbol] < end:
                        found.append((feed, symbol))
                        break
        ends = {feed: dict(feed.ends) for feed in self.feeds}
        self._looks.append((self._clock(), ends))
        return found

    def _judge(self, feed: Feed, symbol: str, trade_id: int) -> _Verdict:
        """Say what a trade is, and add it to the range of its feed."""
        other, end = feed.other, feed.ends[symbol]
        if feed.has(symbol, trade_id):
            return _Verdict.REPEATED
        feed.add(symbol, trade_id)
        if other.has(symbol, trade_id):
            return _Verdict.KNOWN
        queue = self._queues.get(symbol)
        if queue is not None and queue.feed is feed and trade_id > end:
            return _Verdict.EARLY
        is_complete = (
            trade_id <= end + 1
            or other.has(symbol, trade_id - 1)
            or trade_id < other.ends[symbol]
        )
        return _Verdict.NEW if is_complete or not other.is_live else _Verdict.EARLY

    def _let_wait(
        self, feed: Feed, symbol: str, trade_id: int, trade: TradeBatch
    ) -> None:
        queue = self._queues.get(symbol)
        if queue is None:
            queue = self._queues[symbol] = _Queue(feed, deque())
        queue.trades.append(_Early(trade_id, trade, self._clock()))
        self.waiting += 1

    def _freed_by(
        self, feed: Feed, symbol: str, trade_id: int, verdict: _Verdict
    ) -> list[_Early]:
        """Take what has waited for a trade, or in vain."""
        queue = self._queues.get(symbol)
        # If its own feed has gone back behind it, what waits is stray or out of order.
        is_wrong = queue is not None and queue.feed is feed
        if queue is None or (is_wrong and verdict is _Verdict.EARLY):
            return []
        freed: list[_Early] = []
        trades = queue.trades
        while trades and (is_wrong or trades[0].trade_id <= trade_id + 1):
            freed += self._take_run(trades)
        self._end_queue(symbol)
        return freed

    def _take_run(self, trades: deque[_Early]) -> list[_Early]:
        """Take the first trade, and those that follow it without a gap."""
        run = [trades.popleft()]
        while trades and trades[0].trade_id == run[-1].trade_id + 1:
            run.append(trades.popleft())
        self.waiting -= len(run)
        return run

    def _end_queue(self, symbol: str) -> None:
        if not self._queues[symbol].trades:
            del self._queues[symbol]
            self._note_unusual(symbol)

    def _note_unusual(self, symbol: str) -> None:
        for feed in self.feeds:
            feed.note_unusual(symbol, waits=symbol in self._queues)


def _joined(
    handed_on: Sequence[int | TradeBatch],
    select: Callable[[Sequence[int]], TradeBatch],
) -> list[TradeBatch]:
    """Make batches of indexes that stand together."""
    batches: list[TradeBatch] = []
    indexes: list[int] = []
    for each in handed_on:
        if isinstance(each, int):
            indexes.append(each)
            continue
        if indexes:
            batches.append(select(indexes))
            indexes = []
        batches.append(each)
    return [*batches, select(indexes)] if indexes else batches
