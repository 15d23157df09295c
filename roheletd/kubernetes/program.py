"""What a container runs, by whom and where, as far as that is not as its image has it."""

import re

from roheletd.kubernetes.drawing import Drawing, Object
from roheletd.upkeep import user_numbers

_HOST_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def literal(text: str) -> str:
    """Kubernetes puts variables in for `$(NAME)`; here it is nothing but text."""
    return text.replace("$(", "$$(")


def program_of(drawing: Drawing) -> Object:
    """Our `entrypoint` is `command` there, and our `command` is `args`."""
    service = drawing.service
    entrypoint, command = (
        [literal(word) for word in words] for words in (service.entrypoint or (), service.command)
    )
    if service.entrypoint is not None and not entrypoint:
        # With none of its own there either, Kubernetes would take that of the image.
        entrypoint, command = command, []
    found: Object = {"command": entrypoint} if entrypoint else {}
    if command:
        found["args"] = command
    if service.working_dir:
        found["workingDir"] = service.working_dir
    if security := _security(drawing):
        found["securityContext"] = security
    return found


def _security(drawing: Drawing) -> Object:
    service = drawing.service
    found: Object = {"readOnlyRootFilesystem": True} if service.read_only else {}
    if service.user is None:
        return found
    if (numbers := user_numbers(service.user)) is None:
        drawing.note(
            f"left out: `user: {service.user}`, for users and groups are numbers there; "
            "the image's own user runs it"
        )
        return found
    uid, gid = numbers
    found["runAsUser"] = uid
    return found | ({} if gid is None else {"runAsGroup": gid})


def host_name_of(drawing: Drawing, *, claimed: bool) -> Object:
    """Instances of a StatefulSet (`claimed`) are called as they are numbered."""
    name = drawing.service.hostname
    if name is None:
        return {}
    if claimed or not _HOST_NAME.fullmatch(name):
        why = "a StatefulSet names its pods" if claimed else "which is no name of a pod there"
        drawing.note(f"left out: `hostname: {name}`, {why}")
        return {}
    return {"hostname": name}


def secrets_group_of(drawing: Drawing) -> Object:
    """Files of secrets are root's there, and can be read by one group more."""
    numbers = user_numbers(drawing.service.user)
    if numbers is None or numbers[0] == 0:
        return {}
    uid, gid = numbers
    return {"securityContext": {"fsGroup": uid if gid is None else gid}}
