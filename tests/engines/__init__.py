"""Tests of roheletd.engines."""
