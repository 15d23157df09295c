"""Tests of roheletd.cluster."""
