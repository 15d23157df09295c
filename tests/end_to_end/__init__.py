"""Whole daemons, driven from outside as a user would."""
