"""What every verb does, once: HTTP routes, MQTT commands and the CLI all end here.

An operation takes one request struct and gives one response struct; it raises `InvalidInput`,
`NotFound`, `Refused`, `Unavailable` or `UnknownOutcome`, which each door turns into a `Problem`.
"""

from roheletd.api.belonging import Belonging
from roheletd.api.changing import Changing
from roheletd.api.configuring import Configuring
from roheletd.api.discovering import Discovering
from roheletd.api.explaining import Explaining
from roheletd.api.exporting import Exporting
from roheletd.api.extending import Extending
from roheletd.api.planning import Planning
from roheletd.api.reading import Reading
from roheletd.api.recalling import Recalling
from roheletd.api.rolling import Rolling
from roheletd.api.storing import Storing
from roheletd.api.streaming import Streaming


class Operations(
    Reading,
    Explaining,
    Changing,
    Configuring,
    Rolling,
    Planning,
    Discovering,
    Exporting,
    Extending,
    Belonging,
    Storing,
    Streaming,
    Recalling,
):
    """The verbs of one daemon."""
