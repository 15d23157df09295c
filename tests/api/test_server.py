"""The HTTP door through real sockets."""

import asyncio
import os
import socket
import time
from pathlib import Path

import aiohttp
import pytest

from roheletd.api import server as server_module
from roheletd.api.server import ApiServer
from roheletd.errors import RoheletError
from tests.api.conftest import TOKEN, World

WEB = {"name": "shop", "image": "nginx:alpine", "cores": [500]}
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


async def test_a_service_is_added_read_and_removed(
    local: aiohttp.ClientSession, world: World
) -> None:
    async with local.post("/api/v1/services", json={"services": [WEB]}) as answer:
        assert (answer.status, await answer.json()) == (
            200,
            {"changed": {"shop": "added"}, "notes": []},
        )
    async with local.get("/api/v1/services") as answer:
        assert [item["service"]["name"] for item in (await answer.json())["services"]] == [
            "shop",
            "web",
        ]
    async with local.delete("/api/v1/services/shop") as answer:
        assert (await answer.json())["changed"] == {"shop": "removed"}
    assert set(world.state.services) == {"web"}


async def test_the_same_key_makes_a_change_once(local: aiohttp.ClientSession, world: World) -> None:
    before = world.state.applied_index
    for _ in range(2):
        async with local.delete(
            "/api/v1/services/web", headers={"Idempotency-Key": "mine-1"}
        ) as answer:
            status = answer.status
    # The second time the service is gone, which is what was asked for.
    assert status == 404
    assert world.state.applied_index == before + 1
