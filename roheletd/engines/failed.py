"""A command that could not be started within an instance, as a shell would tell of it."""

from msgspec import Struct

NOT_FOUND_CODE = 127
NOT_STARTED_CODE = 126


class Failed(Struct, frozen=True):
    """There is nothing to read and nobody to write to."""

    code: int
    reason: str

    async def read(self) -> tuple[bytes, bool] | None:
        return None

    async def write(self, data: bytes) -> None: ...

    async def end_input(self) -> None: ...

    async def resize(self, rows: int, columns: int) -> None: ...

    async def exit_code(self) -> tuple[int, str]:
        return self.code, self.reason

    async def close(self) -> None: ...
