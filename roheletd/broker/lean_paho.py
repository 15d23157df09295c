"""paho without the DNS library that it takes where it finds one: 4 MB less for every daemon.

paho looks up SRV records with dnspython, if that is installed. We name brokers by their addresses,
and our own resolver loads dnspython once somebody asks it.

Import this module before anything else of paho.
"""

import sys

_dns = sys.modules.get("dns")
# None makes `import dns.resolver` raise ImportError.
sys.modules["dns"] = None  # type: ignore[assignment]
try:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
finally:
    if _dns is None:
        del sys.modules["dns"]
    else:
        sys.modules["dns"] = _dns

__all__ = ["Client", "ConnectFlags", "DisconnectFlags", "MQTTMessage"]
