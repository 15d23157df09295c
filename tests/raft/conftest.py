"""The option that rewrites the recorded scenarios."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="record what the scenarios of the log show now, to be reviewed as a diff",
    )
