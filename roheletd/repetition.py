"""What a node need not say again in every report."""

from msgspec.structs import replace

from roheletd.telemetry import Telemetry

IMAGES_AGAIN_S = 30.0


class Repetition:
    """Leaves the images out of a report that would only say them again.

    Each second, 200 names would be most of what a node says. They are said when they differ and
    every `IMAGES_AGAIN_S`, and hold until they are said otherwise. So whoever lost that message,
    or has only begun to listen, is right again by then; until then a score is a little off.
    """

    def __init__(self) -> None:
        self._said: tuple[str, ...] | None = None
        self._said_for_s = 0.0

    def without(self, report: Telemetry) -> Telemetry:
        self._said_for_s += report.interval_s
        if report.images == self._said and self._said_for_s < IMAGES_AGAIN_S:
            return replace(report, images=None)
        self._said, self._said_for_s = report.images, 0.0
        return report
