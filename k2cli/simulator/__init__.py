"""The embedded exchange: a Binance-shaped server, a made-up market, recordings, faults.

It is the other side of the wire for demos, replays and tests. It is written from what
is known of Binance and shares no code with the client, so that a misunderstanding in
one of them shows.
"""

from k2cli.simulator.exchange import EXCHANGE_HEADER, SimulatedExchange
from k2cli.simulator.faults import FAULTS, Fault, fault_help, parse_fault
from k2cli.simulator.limits import Rules
from k2cli.simulator.market import Market
from k2cli.simulator.recording import Recording
from k2cli.simulator.trades import SymbolInfo, Trade

__all__ = [
    "EXCHANGE_HEADER",
    "FAULTS",
    "Fault",
    "Market",
    "Recording",
    "Rules",
    "SimulatedExchange",
    "SymbolInfo",
    "Trade",
    "fault_help",
    "parse_fault",
]
