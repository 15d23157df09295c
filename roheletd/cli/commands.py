"""Who does what: a written-out table, so that one command imports only its own module.

The imports are statements and not strings, so that the frozen binary finds them by itself.
"""

from collections.abc import Callable, Mapping

from roheletd.cli.options import Command

Commands = Mapping[str, Command]


def command(name: str) -> Command:
    """The function of a command, or of a verb of a family of commands: `cluster join`."""
    return _MODULES.get(name.partition(" ")[0], _reading)()[name]


# ruff: noqa: PLC0415 - that these imports are late is the purpose of this module


def _local() -> Commands:
    from roheletd.cli import local

    return local.COMMANDS


def _quickstart() -> Commands:
    from roheletd.cli import quickstart

    return {"quickstart": quickstart.quickstart}


def _profile() -> Commands:
    from roheletd.cli import profile

    return {"profile": profile.profile}


def _sign() -> Commands:
    from roheletd.cli import sign

    return {"sign": sign.sign}


def _planning() -> Commands:
    from roheletd.cli import planning

    return planning.COMMANDS


def _rolling() -> Commands:
    from roheletd.cli import rolling

    return rolling.COMMANDS


def _compose() -> Commands:
    from roheletd.cli import compose_support

    return compose_support.COMMANDS


def _export() -> Commands:
    from roheletd.cli import export

    return export.COMMANDS


def _registry() -> Commands:
    from roheletd.cli import registry

    return registry.COMMANDS


def _volumes() -> Commands:
    from roheletd.cli import volumes

    return volumes.COMMANDS


def _events() -> Commands:
    from roheletd.cli import events

    return events.COMMANDS


def _streams() -> Commands:
    from roheletd.cli import streams

    return streams.COMMANDS


def _top() -> Commands:
    from roheletd.cli import top

    return top.COMMANDS


def _orchestration() -> Commands:
    from roheletd.cli import orchestration

    return orchestration.COMMANDS


def _algorithm() -> Commands:
    from roheletd.cli import algorithm

    return algorithm.COMMANDS


def _configuration() -> Commands:
    from roheletd.cli import configuration

    return configuration.COMMANDS


def _cluster() -> Commands:
    from roheletd.cli import cluster

    return cluster.COMMANDS


def _reading() -> Commands:
    from roheletd.cli import reading

    return reading.COMMANDS


_MODULES: Mapping[str, Callable[[], Commands]] = {
    **dict.fromkeys(("run", "sample", "version", "config-check", "completion"), _local),
    "quickstart": _quickstart,
    "profile": _profile,
    "sign": _sign,
    **dict.fromkeys(("what-if", "plan", "apply", "cordon", "uncordon", "rebalance"), _planning),
    **dict.fromkeys(("scale", "restart", "rollback", "rollout"), _rolling),
    **dict.fromkeys(("drain", "undrain", "node"), _rolling),
    "compose": _compose,
    "export": _export,
    "registry": _registry,
    "volume": _volumes,
    **dict.fromkeys(("logs", "exec"), _streams),
    "events": _events,
    "top": _top,
    "orchestration": _orchestration,
    "algorithm": _algorithm,
    **dict.fromkeys(("configmap", "secret"), _configuration),
    "cluster": _cluster,
}
"""By the first word of a command; the others are lists that are read (`reading`)."""
