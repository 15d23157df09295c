"""Logs of instances and commands within them, as each engine really has them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roheletd.cluster.streams import Batch, ExecWanted, LogLine
from roheletd.engines import EngineError, ExecSession
from roheletd.engines.docker_streams import Frames, unix_s
from roheletd.engines.process import ProcessEngine
from roheletd.engines.process_streams import Cuts, logs
from tests.engines.conftest import Machine, make_spec

TALK = ("/bin/sh", "-c", "echo one; echo two >&2; sleep 0.2; echo three; exit 3")


async def collected(batches: AsyncIterator[Batch]) -> Batch:
    return [line for batch in [batch async for batch in batches] for line in batch]


async def said(session: ExecSession) -> tuple[bytes, bytes, tuple[int, str]]:
    written, errors = b"", b""
    try:
        async with asyncio.timeout(10):
            while (found := await session.read()) is not None:
                data, is_error = found
                written, errors = (written, errors + data) if is_error else (written + data, errors)
            return written, errors, await session.exit_code()
    finally:
        await session.close()


def wanted(*command: str, **more: object) -> ExecWanted:
    return ExecWanted(instance="web.1", command=command, **more)  # type: ignore[arg-type]


async def test_a_followed_log_ends_with_its_container_and_stamps_its_lines(
    machine: Machine,
) -> None:
    await machine.engine.run(machine.spec(*TALK))
    container = await machine.only()
    lines = await collected(machine.engine.logs(container.id, follow=True))
    assert sorted((line.text, line.source) for line in lines) == [
        ("one", "stdout"),
        ("three", "stdout"),
        ("two", "stderr"),
    ]
    assert all(unix_s(line.at) > 1_600_000_000 for line in lines)
    last = await collected(machine.engine.logs(container.id, follow=False, tail=1))
    assert [line.text for line in last] == ["three"]
    with pytest.raises(EngineError, match=r"not running|improper"):
        await machine.engine.exec_session(container.id, wanted("true"))


async def test_commands_in_a_container(machine: Machine) -> None:
    await machine.engine.run(machine.spec())
    container = (await machine.only()).id

    async def run(*command: str, **more: object) -> tuple[bytes, bytes, tuple[int, str]]:
        return await said(await machine.engine.exec_session(container, wanted(*command, **more)))

    assert await run("sh", "-c", "echo out; echo err >&2; exit 3") == (b"out\n", b"err\n", (3, ""))
    written, errors, (code, reason) = await run("nothing-of-that-name")
    assert (written, errors, code) == (b"", b"", 127)
    assert "nothing-of-that-name" in reason
    session = await machine.engine.exec_session(container, wanted("cat", stdin=True))
    await session.write(b"given\n")
    await session.end_input()
    assert await said(session) == (b"given\n", b"", (0, ""))
    session = await machine.engine.exec_session(
        container, wanted("sh", tty=True, stdin=True, rows=33, columns=99)
    )
    await session.write(b"exit 4\n")
    assert (await said(session))[2] == (4, "")


async def test_a_command_whose_caller_has_gone_is_ended(machine: Machine) -> None:
    await machine.engine.run(machine.spec())
    container = (await machine.only()).id
    session = await machine.engine.exec_session(container, wanted("sleep", "777"))
    await session.close()

    async def is_gone() -> bool:
        look = wanted("sh", "-c", "grep -l 77[7] /proc/[0-9]*/cmdline | grep -c .")
        return (await said(await machine.engine.exec_session(container, look)))[0] == b"0\n"

    async with asyncio.timeout(5):
        while not await is_gone():  # noqa: ASYNC110 - in the container nothing tells
            await asyncio.sleep(0.05)


def framed(output: int, text: bytes) -> bytes:
    return bytes((output, 0, 0, 0)) + len(text).to_bytes(4) + text


def test_frames_are_read_wherever_they_are_cut() -> None:
    stream = b"".join(
        (
            framed(1, b"2026-11-25T08:59:18.849840945Z one\n"),
            framed(2, b"2026-11-25T08:59:19Z half "),
            framed(1, b"no stamp\nand two\n"),
            framed(2, b"and half\n"),
            framed(1, b"\xff\r\n"),
            framed(1, b"2026-11-25T08:59:20Z end"),
        )
    )
    for cut in range(len(stream)):
        frames = Frames()
        found = frames.lines(stream[:cut]) + frames.lines(stream[cut:]) + frames.rest()
        assert found == [
            LogLine("one", "stdout", "2026-11-25T08:59:18.849840945Z"),
            LogLine("no stamp"),
            LogLine("and two"),
            LogLine("half and half", "stderr", "2026-11-25T08:59:19Z"),
            LogLine("\ufffd"),
            LogLine("end", "stdout", "2026-11-25T08:59:20Z"),
        ]


def test_a_line_without_an_end_is_not_kept_without_one() -> None:
    frames = Frames()
    found = frames.lines(b"".join(framed(1, b"x" * 4096) for _ in range(100)))
    assert len(found) > 10


@pytest.mark.parametrize("data", [b"plain text, no frames", b"\x01\0\0\0\xff\xff\xff\xff"])
def test_what_is_no_such_stream_is_refused(data: bytes) -> None:
    with pytest.raises(EngineError, match="format"):
        Frames().lines(data)


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(tmp_path / "run", cluster=f"s{abs(hash(tmp_path)) % 10**8}", node="n1")
    await engine.open()
    yield engine
    for container in await engine.list():
        await engine.remove(container.id, 0)
    await engine.close()


async def running(engine: ProcessEngine, *command: str) -> str:
    cluster = engine._markers["ROHE_CLUSTER"]
    await engine.run(make_spec(cluster, *command, image=""))
    return (await engine.list())[0].id


async def test_the_log_of_a_process_goes_on_with_its_next_run(process: ProcessEngine) -> None:
    own = await running(process, "sh", "-c", "echo begin; sleep 0.1; echo end")
    first = await collected(process.logs(own, follow=True))
    assert [line.text for line in first] == ["begin", "end"]
    await process.start(own)
    again = await collected(process.logs(own, follow=True, again=True))
    assert [line.text for line in again] == ["begin", "end"]
    tail = await collected(process.logs(own, follow=False, tail=1))
    assert [line.text for line in tail] == ["end"]


async def test_a_log_that_is_cut_while_it_is_read_loses_no_place(tmp_path: Path) -> None:
    path, cuts = tmp_path / "log", Cuts()
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(100)))
    alive = True
    batches = logs(
        path, cuts, running=lambda: alive, follow=True, since=False, tail=None, again=False
    )
    found = [line.text for line in await anext(batches)]
    text = path.read_bytes()
    path.write_bytes(text[-64:] + b"after\n")
    cuts.cut(path, len(text) - 64)
    found += [line.text for line in await anext(batches)]
    alive = False
    assert [batch async for batch in batches] == []
    assert found == [*(f"line {number}" for number in range(100)), "after"]


async def test_a_command_beside_a_process_has_its_variables_and_goes_with_its_caller(
    process: ProcessEngine,
) -> None:
    own = await running(process, "sleep", "1000")
    told = await said(
        await process.exec_session(
            own, wanted("sh", "-c", "echo $ROHE_SERVICE; stty size", tty=True, rows=33, columns=99)
        )
    )
    assert told == (b"web\r\n33 99\r\n", b"", (0, ""))
    session = await process.exec_session(own, wanted("yes"))
    assert await session.read() is not None
    await session.close()
    assert await session.exit_code() == (137, "")
    missing = await said(await process.exec_session(own, wanted("nothing-of-that-name")))
    assert missing[2] == (127, "cannot start nothing-of-that-name: no such file or directory")
    await process.remove(own, 0)
    with pytest.raises(EngineError, match="has just ended"):
        await process.exec_session(own, wanted("true"))
