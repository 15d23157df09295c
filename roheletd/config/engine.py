"""The keys about what runs the instances, and about the images that it keeps."""

from typing import Annotated, Literal

from msgspec import Meta

from roheletd.config.base import Seconds, Section

RegistryHost = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:[0-9]{1,5})?$(?!\n)",
        description="HOST or HOST:PORT, as image names begin, without a scheme",
    ),
]


class RegistryConfig(Section, frozen=True):
    """A login of one registry of images."""

    username: Annotated[str, Meta(min_length=1, description="who asks")]
    password_file: Annotated[
        str,
        Meta(description="file whose first line is the password or token, read for each pull"),
    ]


class EngineConfig(Section, frozen=True):
    """What runs the instances."""

    kind: Annotated[
        Literal["auto", "docker", "process", "none"],
        Meta(
            description="docker: any Docker-compatible socket; process: supervised local "
            "processes; none: runs nothing; auto: docker if a socket answers, else process"
        ),
    ] = "auto"
    socket: Annotated[
        str | None,
        Meta(
            description="path of the engine's socket; default: DOCKER_HOST, then "
            "/run/docker.sock, /run/podman/podman.sock and the user's own"
        ),
    ] = None
    pull_stall_s: Annotated[
        Seconds,
        Meta(description="an image pull with no progress for this long is given up and retried"),
    ] = 30.0
    registries: Annotated[
        dict[RegistryHost, RegistryConfig],
        Meta(max_length=64, description="logins of registries by HOST[:PORT]; docker.io: the hub"),
    ] = {}


class ImagesConfig(Section, frozen=True):
    """The images on this node's disk. What the daemon did not pull itself, it never deletes."""

    prune: Annotated[
        bool, Meta(description="delete images that nothing needs; false: a person does it")
    ] = True
    keep_unused_s: Annotated[
        float,
        Meta(
            ge=0,
            le=31_536_000,
            description="an image that neither a service, as it is or was before its last change, "
            "nor a container needs goes after so long; more saves pulls and fills the disk. "
            "Counted from the start of the daemon at the earliest",
        ),
    ] = 604_800.0
    disk_free_min_mib: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            description="with less left on the disk of the images, unused ones go at once and "
            "nothing is pulled; a pull ends at half of it. 0: pull until the disk is full",
        ),
    ] = 512
