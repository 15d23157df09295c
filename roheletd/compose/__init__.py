"""Compose files: the services, config maps and secrets that they mean here.

    text -> values with their lines -> tables of keys -> drafts of services -> checked services

What is supported is written in tables (`keys.Key`), which both read a file and make the published
list in this folder's README. What is not supported is told by line, and what is wrong is refused
by line: nothing is left out without a word.
"""

from roheletd.compose.document import Composed, read
from roheletd.compose.draft import Stored

__all__ = ["Composed", "Stored", "read"]
