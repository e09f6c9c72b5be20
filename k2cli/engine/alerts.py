"""Alerts: conditions on live trades, each said once when it begins to hold."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from k2cli.errors import SettingsError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2cli.trade import TradeBatch, TradeV2

FIGURES = ("price", "move", "rise", "fall", "notional")
"""What an alert may be on."""

PRICE_SLACK = 0.001
"""How far, of its limit, a price goes back before it can cross the limit again."""

MOVE_SLACK = 0.1
"""How far, of its limit, a change goes back before it can exceed the limit again."""

QUIET_SECONDS = 10
"""How long an alert on single trades says no more of a symbol after one."""

_GRAMMAR = (
    "Write price>65000, price<60000, move>1%/5m, rise>1%/5m, fall>1%/5m or "
    "notional>1M, with BTCUSDT: in front for one symbol, all in quotes"
)
_expression = re.compile(
    r"(?:(?P<symbol>[^\s:<>]{1,40}):)?\s*(?P<figure>[a-z]{1,20})\s*(?P<sign>[<>])\s*"
    r"(?P<limit>\d{1,20}(?:[_,]\d{3}){0,6}(?:\.\d{1,20})?)(?P<scale>[kKM%]?)"
    r"(?:/(?P<time>\d{1,6})(?P<unit>[smh]))?",
    re.ASCII,
)
_SCALES = {"": 1.0, "%": 0.01, "k": 1e3, "K": 1e3, "M": 1e6}
_UNITS = {"s": 1, "m": 60, "h": 3600}
_MOST_WINDOW_SECONDS = 86_400
# Prices kept of a window of time.
_BUCKETS = 60


@dataclass(frozen=True, slots=True)
class AlertRule:
    """A condition.

    Attributes:
        text: As it was written, without the symbol.
        symbol: Whose trades it is on, as it was written; empty for all.
        figure: One of ``FIGURES``.
        is_above: Whether it holds above the limit, or else below it.
        limit: A price, an amount in the quote asset, or a change: 0.01 for 1 %.
        window_seconds: Of a change, the time that it looks back over.
    """

    text: str
    symbol: str
    figure: str
    is_above: bool
    limit: float
    window_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that has begun to hold.

    Attributes:
        rule: The condition.
        trade: The trade with which it did.
        value: The figure: a price, an amount in the quote asset, a change.
    """

    rule: AlertRule
    trade: TradeV2
    value: float

    @property
    def value_text(self) -> str:
        """The figure as people read it."""
        if self.rule.figure == "price":
            return self.trade.price
        if self.rule.figure == "notional":
            return f"{self.value:,.2f} {self.trade.currency}"
        return f"{self.value * 100:+.3g}%"


def parse_alert(text: str) -> AlertRule:
    """Read a condition such as ``price>65000`` or ``BTCUSDT:move>1%/5m``.

    Raises:
        SettingsError: If it is none.
    """
    found = _expression.fullmatch(text.strip())
    shown = f"--alert '{printable(text, 60)}'"
    if found is None or found["figure"] not in FIGURES:
        raise SettingsError(f"{shown} cannot be read", _GRAMMAR)
    figure, is_above = found["figure"], found["sign"] == ">"
    is_change = figure in ("move", "rise", "fall")
    limit = float(re.sub("[_,]", "", found["limit"])) * _SCALES[found["scale"]]
    window_seconds = int(found["time"] or 0) * _UNITS[found["unit"] or "s"]
    wrong = None
    if is_change != (found["scale"] == "%") or is_change != bool(window_seconds):
        wrong = "needs a % and a time" if is_change else "has neither % nor time"
    elif not is_above and figure != "price":
        wrong = "can only be exceeded"
    elif not limit:
        wrong = "needs a limit above 0"
    elif window_seconds > _MOST_WINDOW_SECONDS:
        wrong = "looks back over 24h at most"
    if wrong:
        raise SettingsError(f"{shown}: {figure} {wrong}", _GRAMMAR)
    words = text.strip().removeprefix(f"{found['symbol']}:").strip()
    return AlertRule(
        words, found["symbol"] or "", figure, is_above, limit, window_seconds
    )


class AlertWatch:
    """Watches trades for conditions.

    Each is said once when it begins to hold, also if it holds at the first trade, and
    again only after it has clearly not held. Conditions on single trades are said at
    most once in ten seconds of a symbol. Trades of the history are not looked at.

    Args:
        rules: Conditions; their symbols as the exchange spells them.
    """

    def __init__(self, rules: Sequence[AlertRule]) -> None:
        self._rules = rules
        self._symbols: dict[str, _SymbolWatch] = {}

    def observe(self, batch: TradeBatch) -> list[Alert]:
        """Take trades as they come; return what has begun to hold."""
        if batch.is_backfill:
            return []
        alerts: list[Alert] = []
        symbols = self._symbols
        now_us = batch.timestamp_us(len(batch) - 1)
        # Every trade passes here: between the bounds of its symbol nothing happens.
        for index, (symbol, digits) in enumerate(
            zip(batch.symbols, batch.prices, strict=True)
        ):
            watch = symbols.get(symbol)
            if watch is None:
                watch = symbols[symbol] = self._watch(symbol)
            price = float(digits)
            if now_us >= watch.due_us:
                watch.advance(price, now_us)
            watch.price = price
            if not watch.low <= price <= watch.high:
                found = watch.crossed(price)
                alerts += [Alert(rule, batch.trade(index), x) for rule, x in found]
            limit = watch.notional
            if limit is not None:
                notional = price * float(batch.quantities[index])
                if notional > limit:
                    exceeded = watch.exceeded(notional, batch.timestamp_us(index))
                    alerts += [Alert(r, batch.trade(index), notional) for r in exceeded]
        return alerts

    def _watch(self, symbol: str) -> _SymbolWatch:
        return _SymbolWatch(
            [rule for rule in self._rules if rule.symbol in ("", symbol)]
        )


class _SymbolWatch:
    """One symbol's conditions, as bounds within which none of them changes.

    Attributes:
        price: The latest one; 0 before the first.
        low: What a price must go below before anything can change.
        high: What it must go above, likewise.
        notional: What a trade must be worth more than, likewise; ``None`` if no
            condition is on single trades.
        due_us: Trade time at which the bounds change by themselves.
    """

    __slots__ = ("_conditions", "_trades", "due_us", "high", "low", "notional", "price")

    def __init__(self, rules: Sequence[AlertRule]) -> None:
        self.price = 0.0
        self._conditions = [
            _Change(rule) if rule.window_seconds else _Price(rule)
            for rule in rules
            if rule.figure != "notional"
        ]
        # Conditions on single trades, each with the time until which it is silent.
        self._trades = {rule: 0 for rule in rules if rule.figure == "notional"}
        self.notional = min((rule.limit for rule in self._trades), default=None)
        self.due_us: float = 0
        self._bound()

    def advance(self, price: float, now_us: int) -> None:
        """Let windows of time go on to a moment.

        Args:
            price: Of the trade that is made then.
            now_us: Its time, Unix microseconds.
        """
        self.due_us = inf
        for condition in self._conditions:
            due_us = condition.advance(self.price or price, now_us)
            self.due_us = min(self.due_us, due_us)
        self._bound()

    def crossed(self, price: float) -> list[tuple[AlertRule, float]]:
        """Return the conditions that a price makes hold, and their figures."""
        found = [
            (condition.rule, condition.value(price))
            for condition in self._conditions
            if condition.takes(price)
        ]
        self._bound()
        return found

    def exceeded(self, notional: float, time_us: int) -> list[AlertRule]:
        """Return the conditions that a single trade fulfils."""
        found = [
            rule
            for rule, silent_us in self._trades.items()
            if notional > rule.limit and time_us >= silent_us
        ]
        for rule in found:
            self._trades[rule] = time_us + QUIET_SECONDS * 1_000_000
        return found

    def _bound(self) -> None:
        self.low = max((each.low for each in self._conditions), default=-inf)
        self.high = min((each.high for each in self._conditions), default=inf)


class _Price:
    """A limit to the price."""

    def __init__(self, rule: AlertRule) -> None:
        self.rule = rule
        self._holds = False
        self._set(holds=False)

    def value(self, price: float) -> float:
        return price

    def advance(self, price: float, now_us: int) -> float:
        """Do nothing as time goes on; return when to be called again."""
        del price, now_us
        return inf

    def takes(self, price: float) -> bool:
        """Take a price; return whether the condition holds from now on."""
        if self.low <= price <= self.high:
            return False
        self._set(holds=not self._holds)
        return self._holds

    def _set(self, *, holds: bool) -> None:
        self._holds = holds
        self.low, self.high = -inf, inf
        slack = PRICE_SLACK if holds else 0.0
        if self.rule.is_above == holds:
            self.low = self.rule.limit * (1 - slack)
        else:
            self.high = self.rule.limit * (1 + slack)


class _Change:
    """A limit to the change of the price over a window of time."""

    def __init__(self, rule: AlertRule) -> None:
        self.rule = rule
        self.low, self.high = -inf, inf
        self._holds = False
        self._start = 0.0
        self._bucket_us = rule.window_seconds * 1_000_000 // _BUCKETS
        self._bucket = -1
        # Stretches of the window, and the one before it: their numbers, and the price
        # from each to the next.
        self._closes: deque[tuple[int, float]] = deque()

    def value(self, price: float) -> float:
        """Return the change to a price."""
        return price / self._start - 1 if self._start else 0.0

    def advance(self, price: float, now_us: int) -> float:
        """Let the window go on to a moment, with the price until then."""
        bucket = now_us // self._bucket_us
        self._closes.append((self._bucket, price))
        self._bucket = bucket
        while len(self._closes) > 1 and self._closes[1][0] < bucket - _BUCKETS:
            self._closes.popleft()
        self._start = self._closes[0][1]
        if self._holds and self._size(price) < self.rule.limit * (1 - MOVE_SLACK):
            self._holds = False
        self._set()
        return (bucket + 1) * self._bucket_us

    def takes(self, price: float) -> bool:
        """Take a price; return whether the condition holds from now on."""
        if self._holds or self.low <= price <= self.high:
            return False
        self._holds = True
        self._set()
        return True

    def _size(self, price: float) -> float:
        change = self.value(price)
        if self.rule.figure == "move":
            return abs(change)
        return change if self.rule.figure == "rise" else -change

    def _set(self) -> None:
        self.low, self.high = -inf, inf
        if self._holds:
            return
        if self.rule.figure != "fall":
            self.high = self._start * (1 + self.rule.limit)
        if self.rule.figure != "rise":
            self.low = self._start * (1 - self.rule.limit)
