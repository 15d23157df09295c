"""The HTTP door below the socket: the head of a request, then its body, then the answer.

Everything that HTTP decides is decided here, without a socket: what is refused from the head alone
never has its body read.
"""

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from roheletd.api import views
from roheletd.api.access import Forbidden, Unauthorized, check_origin, check_token
from roheletd.api.flow import Flow
from roheletd.api.operations import Operations
from roheletd.api.problems import problem_of
from roheletd.api.requests import BODY, parameters_of, request_of
from roheletd.api.routes import JSON, Page, Route, WrongMethod, find
from roheletd.documents.bounds import SIZE_MAX_BYTES
from roheletd.errors import InvalidInput, RoheletError, Unavailable

POLLS_MAX = 32
"""Requests that may wait for an event at once; each holds a connection and a timer."""

KEY_HEADER = "Idempotency-Key"
TOO_LARGE = f"expected at most {SIZE_MAX_BYTES >> 20} MiB"

_LENGTH = re.compile(r"[0-9]{1,8}")
_KEY = re.compile(r"[!-~]{1,64}")
_STATUS = {
    "invalid": HTTPStatus.BAD_REQUEST,
    "forbidden": HTTPStatus.FORBIDDEN,
    "not found": HTTPStatus.NOT_FOUND,
    "refused": HTTPStatus.CONFLICT,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "unknown": HTTPStatus.GATEWAY_TIMEOUT,
}
_encoder = msgspec.json.Encoder()
T = TypeVar("T")


class Head(Struct, frozen=True, kw_only=True):
    """What comes before the body. `path` and `query` as they were sent; `trusted`: unix socket."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    trusted: bool


class Answer(Struct, frozen=True, kw_only=True):
    """What goes back."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: Mapping[str, str] = {}
    flow: Flow | None = None


class BadBody(InvalidInput):
    """A body that HTTP has a status of its own for."""

    def __init__(self, status: HTTPStatus, expected: str) -> None:
        super().__init__(BODY, expected)
        self.status = status


class Door:
    """Answers requests out of `operations`."""

    def __init__(
        self, operations: Operations, *, token: str, data_dir: Path, open_reads: bool = True
    ) -> None:
        assert token, "an empty token would let everybody in"
        self._open_reads = open_reads
        self._operations = operations
        self._token = token
        self._data_dir = data_dir
        self._polls: set[asyncio.Timeout] = set()
        self._closing = False

    async def serve(self, head: Head, read_body: Callable[[], Awaitable[bytes]]) -> Answer:
        """The whole exchange. `read_body` is called only where the head is in order."""
        try:
            route, values = self._admit(head)
            parameters = parameters_of(route.request, values, head.query)
            command_id = _command_id(head.headers)
            body = await read_body() if route.takes_body else None
            request = request_of(route.request, parameters, body)
            return _answer_of(await self._run(route, request, command_id))
        except RoheletError as error:
            return refusal(error)

    def close(self) -> None:
        """End the requests that wait for an event, and take no more of them."""
        self._closing = True
        for poll in self._polls:
            poll.reschedule(0.0)

    def _admit(self, head: Head) -> tuple[Route, Mapping[str, str]]:
        if not head.trusted:
            check_origin(head.headers)
        route, values = find(head.method, head.path)
        is_open = route.public or (self._open_reads and not (route.writes or route.guarded))
        if not (head.trusted or is_open):
            check_token(head.headers, self._token, self._data_dir)
        _check_body(route, head.headers)
        return route, values

    async def _run(
        self, route: Route, request: views.Request, command_id: str
    ) -> views.Response | Page | Flow:
        run = partial(route.run, self._operations, request, command_id)
        if isinstance(request, views.EventsAfter) and request.wait_s > 0:
            return await self._poll(run)
        return await run()

    async def _poll(self, run: Callable[[], Awaitable[T]]) -> T:
        if self._closing:
            raise Unavailable("this daemon is stopping")
        if len(self._polls) >= POLLS_MAX:
            raise Unavailable(f"{POLLS_MAX} requests wait for events already: ask without wait_s")
        poll = asyncio.timeout(None)
        try:
            async with poll:
                self._polls.add(poll)
                return await run()
        except TimeoutError:
            raise Unavailable("this daemon is stopping") from None
        finally:
            self._polls.discard(poll)


def refusal(error: RoheletError) -> Answer:
    """`error` in the words and numbers of HTTP."""
    match error:
        case BadBody():
            return problem_answer(problem_of(error), error.status)
        case WrongMethod():
            problem = views.Problem(error="invalid", reason=str(error))
            allow = {"Allow": ", ".join(error.allowed)}
            return problem_answer(problem, HTTPStatus.METHOD_NOT_ALLOWED, allow)
        case Unauthorized():
            problem = views.Problem(error="forbidden", reason=str(error))
            return problem_answer(
                problem, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": 'Bearer realm="roheletd"'}
            )
        case Forbidden():
            return problem_answer(views.Problem(error="forbidden", reason=str(error)))
    return problem_answer(problem_of(error))


def problem_answer(
    problem: views.Problem, status: int | None = None, headers: Mapping[str, str] = {}
) -> Answer:
    repeated = replace(problem, reason=_encodable(problem.reason), field=_encodable(problem.field))
    return Answer(
        status=_STATUS[problem.error] if status is None else status,
        body=_line(repeated),
        headers=headers,
    )


def _encodable(text: str) -> str:
    """What a refusal repeats may hold bytes of the request line that are no text."""
    return text.encode("utf-8", "backslashreplace").decode()


def _answer_of(result: views.Response | Page | Flow) -> Answer:
    if isinstance(result, Flow):
        return Answer(status=HTTPStatus.OK, body=b"", media_type=result.media_type, flow=result)
    if isinstance(result, Page):
        return Answer(status=HTTPStatus.OK, body=result.body, media_type=result.media_type)
    missing = isinstance(result, views.Ready) and not result.ready
    status = HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK
    return Answer(status=status, body=_line(result))


def _line(value: Struct) -> bytes:
    return _encoder.encode(value) + b"\n"  # a shell's prompt begins a line of its own


def _check_body(route: Route, headers: Mapping[str, str]) -> None:
    if route.duplex:
        return
    declared = headers.get("Content-Length", "0")
    if not route.takes_body:
        if declared != "0" or "Transfer-Encoding" in headers:
            raise InvalidInput(BODY, f"expected none: {route.method} has its values in the address")
        return
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise BadBody(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected Content-Type: {JSON}")
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadBody(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected no Content-Encoding")
    if not _LENGTH.fullmatch(declared) or int(declared) > SIZE_MAX_BYTES:
        raise BadBody(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE)


def _command_id(headers: Mapping[str, str]) -> str:
    given = headers.get(KEY_HEADER)
    if given is None:
        return uuid.uuid4().hex
    if not _KEY.fullmatch(given):
        raise InvalidInput(KEY_HEADER, "expected 1 to 64 printable ASCII characters without spaces")
    return given
