"""paho without the DNS library that it takes where it finds one: 4 MB less for every daemon.

paho looks up SRV records with dnspython, if that is installed. We name brokers by their addresses,
and our own resolver loads dnspython once somebody asks it.

Import this module before anything else of paho.
"""

from roheletd.absent import absent

with absent("dns"):
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage

__all__ = ["Client", "ConnectFlags", "DisconnectFlags", "MQTTMessage"]
