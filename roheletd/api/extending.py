"""The verb about what users add to the program: their algorithm."""

from roheletd.allocation.algorithm import NotLoaded
from roheletd.api import views
from roheletd.api.grounds import Grounds
from roheletd.errors import Refused


class Extending(Grounds):
    """Load the algorithm again."""

    async def reload_algorithm(self, _request: views.Nothing, _id: str) -> views.Changes:
        """Read this node's algorithm anew; where that fails, what was read before goes on."""
        algorithm = self._algorithm
        if not algorithm.name:
            raise Refused("no algorithm is configured: `allocation.algorithm` names one")
        try:
            hooks = algorithm.reload()
        except NotLoaded as error:
            raise Refused(f"{algorithm.name} cannot be loaded: {error}") from None
        finally:
            algorithm.tell(self._soft, self._events)
        return views.Changes(changed={algorithm.name: f"loaded ({', '.join(hooks)})"})
