"""The few errors that cross module borders, split by whose fault they are.

An expected "no" (a service that cannot be placed, a refused command) is a value, not one of these.
"""


class RoheletError(Exception):
    """Root of every error this program raises on purpose."""


class InvalidInput(RoheletError):  # noqa: N818 - reads as what it is: the caller's input, invalid
    """Input that can never be acted on, whatever the state: the sender must change it.

    `field` is the path of the offending value (`$.service.ports[0].host_port`),
    `expected` says what would have been right.
    """

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}")
        self.field = field
        self.expected = expected


class Refused(RoheletError):  # noqa: N818 - the word every door uses
    """A well-formed request that the present state does not allow; the message is the reason."""


class Unavailable(RoheletError):  # noqa: N818 - the word every door uses
    """A neighbour (engine, broker, daemon, disk) does not answer; trying again later may work."""
