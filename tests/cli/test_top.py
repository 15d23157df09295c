"""What `top` shows. Pure: answers in, lines out."""

from typing import Any

from roheletd.cli.tables import Style
from roheletd.cli.top_page import top


def node(name: str, liveness: str = "alive") -> dict[str, Any]:
    return {"node": {"name": name}, "liveness": liveness}


def report(name: str, used: dict[str, int], **more: Any) -> dict[str, Any]:
    memory = {"total_mib": 1000, "available_mib": 600}
    return {"node": name, "cpu": {"used_millicores": used}, "memory": memory, **more}


def instance(name: str, cpu: int | None, **cores: int) -> dict[str, Any]:
    return {
        "instance": name,
        "node": "pi",
        "state": "running",
        "cores": {core.removeprefix("c"): value for core, value in cores.items()},
        "used_cpu_millicores": cpu,
        "used_memory_mib": None if cpu is None else 12,
    }


VALUE = {
    "nodes": [node("pi"), node("lost", "lost"), node("big")],
    "telemetry": [
        report(
            "pi",
            {"0": 1000, "1": 500},
            instances=[{"instance": "b.1", "cores_millicores": [310, 40]}],
            gpus=[{"id": "gpu0", "used_percent": 7.0}],
        ),
        report("big", {str(core): 125 * (core % 9) for core in range(12)}),
    ],
    "instances": [instance("a.1", None, c1=50), instance("b.1", 350, c0=300, c1=100)],
}


def test_nodes_show_each_core_and_instances_come_by_their_use() -> None:
    lines = top(VALUE, Style())
    assert lines[1].split()[:2] == ["big", "··░▒▒▒▓██··░"]
    assert lines[2].split() == ["lost", "lost"]
    assert "0:██████████ 1:█████·····" in lines[3]
    assert "1.50 of 2" in lines[3]
    assert "400 of 1000 MiB" in lines[3]
    assert "gpu0 7%" in lines[3]
    assert lines[6].split() == [
        "b.1",
        "pi",
        "running",
        "310",
        "40",
        "on",
        "0,1",
        "350",
        "of",
        "400",
        "12",
        "MiB",
    ]
    assert lines[7].split() == ["a.1", "pi", "running", "on", "1"]


def test_nothing_runs_and_nothing_is_known_is_no_fault() -> None:
    assert top({"nodes": [node("pi")], "telemetry": [], "instances": []}, Style())[-1] == (
        "no instances"
    )


def test_no_line_is_wider_than_the_terminal() -> None:
    for width in (40, 80):
        assert all(len(line) <= width for line in top(VALUE, Style(width=width))[:4])
