"""The embedded exchange: a Binance-shaped server, a made-up market, tapes and faults.

It is the other side of the wire for demos, replays and tests. It is written from what
is known of Binance and shares no code with the client, so that a misunderstanding in
one of them shows.
"""

from k2cli.simulator.door import EXCHANGE_HEADER
from k2cli.simulator.exchange import SimulatedExchange
from k2cli.simulator.fault import Fault
from k2cli.simulator.fault_script import fault_help, parse_fault
from k2cli.simulator.faults import FAULTS
from k2cli.simulator.market import Market
from k2cli.simulator.rules import Rules
from k2cli.simulator.tape import Tape
from k2cli.simulator.trades import SymbolInfo, Trade

__all__ = [
    "EXCHANGE_HEADER",
    "FAULTS",
    "Fault",
    "Market",
    "Rules",
    "SimulatedExchange",
    "SymbolInfo",
    "Tape",
    "Trade",
    "fault_help",
    "parse_fault",
]
