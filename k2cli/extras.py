"""Packages that only some commands need, and that not everybody has."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from k2cli.errors import SettingsError


def import_extra(module: str, *, what: str, package: str, extra: str) -> Any:
    """Import a module by name, as the type checker need not have it.

    Args:
        module: Its name.
        what: What is wanted, as the user calls it, e.g. ``"Kafka"``.
        package: The package that has the module, e.g. ``"confluent-kafka"``.
        extra: The extra of k2 that brings it, e.g. ``"kafka"``.

    Raises:
        SettingsError: If it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise SettingsError(
            f"{what} needs the package {package}",
            f"Install it: pip install 'k2cli[{extra}]'",
        ) from None
