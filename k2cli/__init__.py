"""Live trade tailing on Binance Spot."""

__version__ = "0.1.0"
