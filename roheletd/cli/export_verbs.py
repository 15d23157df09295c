"""`roheletd export`: what is agreed, in the formats of others."""

import argparse

from roheletd.cli.options import Add, Commands, add_command, add_family, daemon_options


def add_export(commands: Commands, name: str) -> None:
    add_family(
        commands,
        name,
        _VERBS,
        text="Write what is agreed in the format of another system.",
        examples=(
            "roheletd export kubernetes > manifests.yaml",
            "roheletd export rohe",
        ),
    )


def _add_kubernetes(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        text="Write services as Kubernetes manifests: Deployment, Service, ConfigMap and what they "
        "need. What Kubernetes has no word for stands in comments.",
        examples=(
            "roheletd export kubernetes > manifests.yaml",
            "roheletd export kubernetes web cache --pin",
            "roheletd export kubernetes --application shop | kubectl apply -f -",
        ),
        command="export kubernetes",
    )
    _selection(parser)
    parser.add_argument(
        "--pin",
        action="store_true",
        help="only on the nodes where the instances are now, which have to have the same names",
    )
    parser.add_argument(
        "--with-secrets",
        action="store_true",
        help="also write the secrets, with their values in plain text",
    )
    daemon_options(parser)


def _add_rohe(verbs: Commands, name: str) -> None:
    parser = add_command(
        verbs,
        name,
        text="Write what is agreed as ROHE's resources. These are Node, Microservice, Deployment "
        "and ConfigMap, with ROHE's field names and units.",
        examples=("roheletd export rohe", "roheletd export rohe --application shop -o json"),
        command="export rohe",
    )
    _selection(parser)
    daemon_options(parser)


def _selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "services", metavar="SERVICE", nargs="*", help="these services (default: all)"
    )
    parser.add_argument("--application", metavar="NAME", help="only services of this application")


_VERBS: dict[str, Add] = {"kubernetes": _add_kubernetes, "rohe": _add_rohe}
