"""Tests of roheletd.allocation."""
