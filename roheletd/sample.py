"""The bundled sample service: it says over HTTP which instance answers and where it may run.

The standard library only, and little of it, because it also runs alone in an image
(engines/archive.py). `GET /` answers JSON; SIGTERM ends it at once, also as PID 1.
"""

import json
import os
import signal
import socket
import threading
from types import FrameType

_PORT_VARIABLE = "ROHE_PORT_8080"
_PORT = "8080"
_PATIENCE_S = 5.0
_REQUEST_BYTES_MAX = 8192
_CONNECTIONS_MAX = 16


def answer(served: int) -> bytes:
    """The whole HTTP response to the `served`-th request."""
    facts = {
        "service": os.environ.get("ROHE_SERVICE", "sample"),
        "instance": os.environ.get("ROHE_INSTANCE", ""),
        "node": os.environ.get("ROHE_NODE", ""),
        "cores": sorted(os.sched_getaffinity(0)),
        "served": served,
    }
    body = json.dumps(facts).encode() + b"\n"
    head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
    return b"HTTP/1.1 200 OK\r\n" + head.encode() + b"\r\n\r\n" + body


def serve(listener: socket.socket) -> None:
    """Answer for ever, a thread for each connection, so that a silent one holds up nobody."""
    free = threading.Semaphore(_CONNECTIONS_MAX)
    served = 0
    while True:
        connection, _ = listener.accept()
        served += 1
        free.acquire()
        arguments = (connection, answer(served), free)
        threading.Thread(target=_converse, args=arguments, daemon=True).start()


def _converse(connection: socket.socket, response: bytes, free: threading.Semaphore) -> None:
    try:
        with connection:
            connection.settimeout(_PATIENCE_S)
            request = b""
            while b"\r\n\r\n" not in request and len(request) < _REQUEST_BYTES_MAX:
                more = connection.recv(_REQUEST_BYTES_MAX)
                if not more:
                    return
                request += more
            connection.sendall(response)
    except OSError:
        pass  # the peer went away or was silent: its loss
    finally:
        free.release()


def _end(_signal: int, _frame: FrameType | None) -> None:
    # Not an exception: PID 1 must go at once, whatever the main thread is doing.
    os._exit(0)


def main() -> None:
    # As PID 1 a signal without a handler is ignored.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    port = int(os.environ.get(_PORT_VARIABLE, _PORT))
    with socket.create_server(("", port)) as listener:
        print(f"listening on port {port}", flush=True)
        serve(listener)


if __name__ == "__main__":
    main()
