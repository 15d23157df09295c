"""The doors: every verb is written once in `operations`; HTTP and MQTT lead to the same place."""
