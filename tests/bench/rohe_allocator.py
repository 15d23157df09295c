"""ROHE's own allocator behind a pipe: run by an interpreter that has `rohe`, and no roheletd.

Each line of the standard input is one task (`nodes`, `services`, `strategy`, `limit_s`), each line
of the standard output is what became of it. What is measured is the loop of ROHE's `allocate`:
queue, find a node, book it, next. Its two rounds to MongoDB are left out, which is to its favour.
"""

import json
import logging
import sys
import time
from typing import Any

from rohe.common.data_models import (
    NodeData,
    OrchestrateAlgorithmConfig,
    ServiceData,
    ServiceQueueConfig,
)
from rohe.orchestration.allocator import Allocator
from rohe.orchestration.resource_management import Node, Service


def main() -> None:
    logging.disable()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(placed(json.loads(line))), flush=True)


def placed(task: dict[str, Any]) -> dict[str, Any]:
    allocator = Allocator(
        db_client=None,
        node_collection=None,
        service_collection=None,
        service_queue_config=ServiceQueueConfig(priority=0, queue_balance=3),
        orchestrate_algorithm_config=OrchestrateAlgorithmConfig(
            algorithm="priority", weights={"cpu": 1, "memory": 1}, strategy=task["strategy"]
        ),
    )
    allocator.nodes = {it["mac_address"]: Node(NodeData(**it)) for it in task["nodes"]}
    allocator.services = {it["service_id"]: Service(ServiceData(**it)) for it in task["services"]}
    begun_s = time.process_time()
    found, is_complete = filled(allocator, begun_s + task["limit_s"])
    return {
        "elapsed_s": time.process_time() - begun_s,
        "is_complete": is_complete,
        "placements": found,
    }


def filled(allocator: Any, until_s: float) -> tuple[list[tuple[str, str]], bool]:
    """Service and node of each instance; False where the time was up before the end."""
    found: list[tuple[str, str]] = []
    allocator.build_service_queue()
    while not allocator.service_queue.empty():
        service = allocator.service_queue.get()
        if service is None:
            break
        for _ in range(service.replicas - service.running):
            if time.process_time() > until_s:
                return found, False
            node = allocator.algorithm_manager.find_allocate(service, allocator.nodes)
            if node is None:
                break
            allocator.update_node(allocator.nodes[node], service)
            found.append((service.id, node))
    return found, True


if __name__ == "__main__":
    main()
