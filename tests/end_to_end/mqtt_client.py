"""Somebody else on the broker: one who listens, and the command lines that people publish with."""

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

_PATIENCE_S = 15.0


class Login(NamedTuple):
    """Where a broker is and who may enter."""

    port: int
    user: str = ""
    password: str = ""

    @property
    def arguments(self) -> list[str]:
        """As mosquitto_pub and mosquitto_sub take it."""
        where = ["-h", "127.0.0.1", "-p", str(self.port)]
        return [*where, "-u", self.user, "-P", self.password] if self.user else where


class Heard(NamedTuple):
    """One message, and when it came."""

    topic: str
    payload: bytes
    retain: bool
    at_s: float

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.payload)
        return found


class Ear:
    """Hears everything below `rohe/` from the moment it is made."""

    def __init__(self, login: Login) -> None:
        self.heard: list[Heard] = []
        self._news = threading.Condition()
        self._listens = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        if login.user:
            self._client.username_pw_set(login.user, login.password)
        self._client.on_connect = lambda *_: self._client.subscribe("rohe/#", 1)
        self._client.on_subscribe = lambda *_: self._listens.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", login.port)
        self._client.loop_start()
        assert self._listens.wait(_PATIENCE_S), "the broker lets nobody listen"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def on(self, topic: str) -> list[Heard]:
        """What came on topics that end so."""
        return [message for message in tuple(self.heard) if message.topic.endswith(topic)]

    def first(self, topic: str, where: Callable[[Heard], object] = bool) -> Heard:
        """The first message on such a topic for which `where` holds; waits for it."""

        def found() -> Heard | None:
            return next(filter(where, self.on(topic)), None)

        with self._news:
            message = self._news.wait_for(found, _PATIENCE_S)
        assert message, f"nothing of the kind on {topic}, but {self.heard[-5:]}"
        return message

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        heard = Heard(message.topic, message.payload, message.retain, time.monotonic())
        with self._news:
            self.heard.append(heard)
            self._news.notify_all()


@contextlib.contextmanager
def ear(login: Login) -> Iterator[Ear]:
    made = Ear(login)
    try:
        yield made
    finally:
        made.close()


def publish(login: Login, topic: str, payload: bytes) -> None:
    """As a person does: one message from standard input."""
    argv = ["mosquitto_pub", *login.arguments, "-q", "1", "-t", topic, "-s"]
    subprocess.run(argv, input=payload, check=True, timeout=20)
