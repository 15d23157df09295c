"""The broker edges, against real brokers."""
