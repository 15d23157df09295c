"""What the daemon imports of aiohttp, and what it must not."""

import subprocess
import sys

PROGRAM = """
import sys
import roheletd.daemon, roheletd.engines.docker, aiodocker, aiohttp.connector
assert aiohttp.connector.ssl is None, "aiohttp was imported before lean_aiohttp"
assert "aiohttp.web_app" not in sys.modules, "the application layer of aiohttp is loaded"
import ssl
assert ssl.create_default_context(), "TLS is there for the broker"
"""


def test_the_daemon_loads_no_tls_contexts_and_no_application_layer() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_the_daemon_loads_no_dns_library_until_somebody_asks_for_a_name() -> None:
    program = "import sys, roheletd.daemon; assert 'dns.message' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
