"""Tests of roheletd.loops."""
