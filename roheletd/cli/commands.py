"""Who does what: a written-out table, so that one command imports only its own module.

The imports are statements and not strings, so that the frozen binary finds them by itself.
"""

from roheletd.cli.options import Command


def command(name: str) -> Command:
    # ruff: noqa: PLC0415 - that these imports are late is the purpose of this module
    match name:
        case "run" | "sample" | "version" | "config-check" | "completion":
            from roheletd.cli import local

            return local.COMMANDS[name]
        case "quickstart":
            from roheletd.cli import quickstart

            return quickstart.quickstart
        case "profile":
            from roheletd.cli import profile

            return profile.profile
        case "sign":
            from roheletd.cli import sign

            return sign.sign
        case "what-if" | "plan" | "apply" | "cordon" | "uncordon" | "rebalance":
            from roheletd.cli import planning

            return planning.COMMANDS[name]
        case _ if name.startswith("orchestration "):
            from roheletd.cli import orchestration

            return orchestration.COMMANDS[name]
        case _ if name.startswith("algorithm "):
            from roheletd.cli import algorithm

            return algorithm.COMMANDS[name]
        case _ if name.startswith("cluster "):
            from roheletd.cli import cluster

            return cluster.COMMANDS[name]
        case _:
            from roheletd.cli import reading

            return reading.COMMANDS[name]
