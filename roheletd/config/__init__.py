"""Typed configuration: one closed YAML file. An unknown key is an error that names its path."""

import msgspec
from msgspec.structs import asdict

from roheletd.config.base import Section
from roheletd.config.engine import EngineConfig
from roheletd.config.sections import (
    TIMINGS,
    AllocationConfig,
    BrokerConfig,
    Config,
    Url,
    WeightsConfig,
)
from roheletd.errors import InvalidInput
from roheletd.wording import shown

__all__ = [
    "TIMINGS",
    "AllocationConfig",
    "BrokerConfig",
    "Config",
    "EngineConfig",
    "Url",
    "WeightsConfig",
    "explain",
    "parse",
]

_PATH_MAX = 100


def parse(document: object) -> Config:
    """A configuration from the plain values of a YAML or JSON document (None: all defaults).

    Raises `InvalidInput` naming the key and what was expected.
    """
    _refuse_unknown(document, Config(), "$")
    try:
        config = msgspec.convert({} if document is None else document, Config)
    except msgspec.ValidationError as error:
        from roheletd import reference  # noqa: PLC0415 - only a refusal pays for it

        raise reference.refusal(Config, document, str(error)) from None
    _check_allocation(config.allocation)
    if config.broker.mode == "external" and not config.broker.urls:
        raise InvalidInput("$.broker.urls", "expected at least one URL with mode external")
    if config.cluster.role == "witness" and config.cluster.voter == "never":
        raise InvalidInput("$.cluster.voter", "expected auto: a witness does nothing but vote")
    return config


def _check_allocation(section: AllocationConfig) -> None:
    if section.port_min > section.port_max:
        expected = f"expected at most port_max ({section.port_max}), got {section.port_min}"
        raise InvalidInput("$.allocation.port_min", expected)
    in_force = asdict(section.weights)
    if section.algorithm is None:
        del in_force["user"]
    if not any(in_force.values()):
        expected = f"expected at least one weight above 0, of {', '.join(in_force)}"
        raise InvalidInput("$.allocation.weights", expected)


def explain() -> str:
    """Every key with its type, unit, range, default and reason: itself a valid configuration."""
    from roheletd import reference  # noqa: PLC0415 - for people; the daemon never pays for it

    return reference.explained(Config, _HEAD)


_HEAD = """\
The configuration of roheletd. Every key may be left out; the values here are the defaults.
An unknown key, or a value of another type, is refused with its path."""


def _refuse_unknown(document: object, known: Section, path: str) -> None:
    """Name a key that no section has, and those it may have been meant for."""
    if not isinstance(document, dict):
        return
    for key, value in document.items():
        if key not in known.__struct_fields__:
            field = f"{path}.{key}" if isinstance(key, str) and key.isidentifier() else path
            names = ", ".join(known.__struct_fields__)
            raise InvalidInput(field[:_PATH_MAX], f"unknown key {shown(key)}; known here: {names}")
        if isinstance(section := getattr(known, key), Section):
            _refuse_unknown(value, section, f"{path}.{key}")
