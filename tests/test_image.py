"""One image, one name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roheletd.image import short_name

DIGEST = f"sha256:{'0a' * 32}"


@pytest.mark.parametrize(
    ("short", "others"),
    [
        (
            "nginx:latest",
            ("nginx", "docker.io/nginx", "docker.io/library/nginx:latest", "library/nginx"),
        ),
        ("nginx:1.25", ("docker.io/library/nginx:1.25", "index.docker.io/library/nginx:1.25")),
        ("rdsea/detector:latest", ("rdsea/detector", "docker.io/rdsea/detector")),
        ("ghcr.io/rdsea/detector:2", ("ghcr.io/rdsea/detector:2",)),
        ("ghcr.io/library/nginx:latest", ("ghcr.io/library/nginx",)),
        ("localhost/nginx:latest", ("localhost/nginx",)),
        ("hub:5000/nginx:latest", ("hub:5000/nginx",)),
        (f"nginx@{DIGEST}", (f"docker.io/library/nginx@{DIGEST}", f"nginx:1.25@{DIGEST}")),
        (f"hub:5000/nginx@{DIGEST}", (f"hub:5000/nginx:1@{DIGEST}",)),
    ],
)
def test_all_names_of_an_image_are_one(short: str, others: tuple[str, ...]) -> None:
    assert {short_name(name) for name in (short, *others)} == {short}


def test_images_of_several_registries_and_tags_stay_apart() -> None:
    names = ("nginx", "nginx:1", "localhost/nginx", "ghcr.io/nginx", "a/nginx", f"nginx@{DIGEST}")
    assert len({short_name(name) for name in names}) == len(names)


@given(st.text(alphabet="ab/:@-", max_size=12))
def test_whatever_is_written_has_a_name_and_that_is_its_own_name(text: str) -> None:
    assert short_name(text) == short_name(short_name(text))
