"""A Compose file on a real node: it runs as written, again changes nothing, and goes on to K3s."""

import urllib.request
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.end_to_end.test_configuration import in_memory
from tests.testbed.daemon import RealDaemon
from tests.testbed.engines import BUSYBOX
from tests.testbed.network import free_port

pytestmark = [pytest.mark.docker, pytest.mark.mosquitto, pytest.mark.root]

COMPOSE = f"""\
x-base: &base
  image: {BUSYBOX}
  stop_grace_period: 0s
services:
  front:
    <<: *base
    command: /bin/httpd -f -p 80 -h /pages
    ports: ["${{PORT}}:80"]
    configs: [{{source: page, target: /pages/index.html}}]
    secrets: [word]
    depends_on: {{store: {{condition: service_healthy}}}}
    deploy: {{resources: {{limits: {{cpus: "0.2", memory: 32M}}}}}}
    healthcheck: {{test: "test -s /run/secrets/word", interval: 1s}}
  store:
    <<: *base
    command: [/bin/sh, -c, "echo $$GREETING > /data/f; exec sleep 1000"]
    environment: [GREETING=hello]
    volumes: [data:/data]
    healthcheck: {{test: [CMD, /bin/grep, hello, /data/f], interval: 1s}}
volumes: {{data: {{}}}}
configs: {{page: {{content: "page of ${{PORT}}"}}}}
secrets: {{word: {{file: word.txt}}}}
"""


def test_a_compose_file_runs_as_written_and_can_be_exported(
    on_docker: RealDaemon, tmp_path: Path
) -> None:
    port = free_port()
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "compose.yaml").write_text(COMPOSE)
    (shop / ".env").write_text(f"PORT={port}\n")
    (shop / "word.txt").write_text("open sesame")
    in_memory(on_docker)
    on_docker.config["discovery"]["forwarder"] = True
    on_docker.start()

    planned = on_docker.cli("plan", "-f", str(shop / "compose.yaml"))
    assert planned.returncode == 0, planned.stderr
    assert on_docker.get("/api/v1/secrets")["secrets"] == []
    done = on_docker.cli("apply", "-f", str(shop / "compose.yaml"))
    assert done.returncode == 0, done.stderr
    on_docker.running(2)
    on_docker.until(lambda: page(port) == f"page of {port}")
    again = on_docker.cli("apply", "-f", str(shop / "compose.yaml"))
    assert "There is nothing to do." in again.stdout
    assert "secret shop_word: unchanged" in again.stderr

    exported = on_docker.cli("export", "kubernetes", "--application", "shop", "--pin")
    assert exported.returncode == 0, exported.stderr
    assert "open sesame" not in exported.stdout + exported.stderr
    documents = list(yaml.safe_load_all(exported.stdout))
    for document in documents:
        kubernetes_validate.validate(document, "1.37", strict=True)
    assert [it["kind"] for it in documents].count("Deployment") == 2
    name = on_docker.config["node"]["name"]
    assert f"- {name}" in exported.stdout
    with_secrets = on_docker.cli("export", "kubernetes", "--with-secrets").stdout
    assert "kind: Secret" in with_secrets
    rohe = yaml.safe_load(on_docker.cli("export", "rohe").stdout)
    assert rohe["microservices"]["shop"]["front"]["running"] == 1


def page(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
            return answer.read().decode()
    except OSError:
        return ""
