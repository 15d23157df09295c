"""roheletd: one small daemon per edge node that measures, elects, allocates and runs containers."""

__version__ = "0.1.0"
