"""Benchmarks, run by hand: each prints a table, or JSON with `--output json`."""
