"""What can go wrong with a verb beside bad input, and what a door answers for each of it."""

from roheletd.api import views
from roheletd.errors import InvalidInput, RoheletError, Unavailable


class NotFound(RoheletError):  # noqa: N818 - the word every door uses
    """There is nothing of that name."""


class UnknownOutcome(RoheletError):  # noqa: N818 - the word every door uses
    """The command may or may not have been committed; sending the same id again tells."""


def problem_of(error: RoheletError) -> views.Problem:
    """What a door answers for `error`."""
    match error:
        case InvalidInput():
            return views.Problem(error="invalid", reason=error.expected, field=error.field)
        case NotFound():
            return views.Problem(error="not found", reason=str(error))
        case UnknownOutcome():
            return views.Problem(error="unknown", reason=str(error))
        case Unavailable():
            return views.Problem(error="unavailable", reason=str(error))
    return views.Problem(error="refused", reason=str(error))
