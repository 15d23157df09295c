"""The scoring allocator: filter, score, select. Pure; see README.md beside this file."""
