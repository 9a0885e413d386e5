"""The page on the architecture speaks of what is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import pytest_stormdb

from ..test_layers import ROOMS

HOME = Path(pytest_stormdb.__file__).parent
PAGE = (HOME.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`([a-z_/]+)\.py:([A-Za-z_.]+)`", PAGE)))


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_name_on_the_page_exists(module: str, name: str) -> None:
    """Each function or class that the page names can be imported from the file it names."""
    found: object = importlib.import_module(f"pytest_stormdb.{module.replace('/', '.')}")
    for part in name.split("."):
        found = getattr(found, part)


def test_the_files_and_folders_on_the_page_exist() -> None:
    """Each file or folder that the page names without a name in it is there."""
    paths = re.findall(r"`([a-z_]+/(?:[a-z_]+\.py)?)`", PAGE)
    assert paths
    assert [path for path in paths if not ((HOME / path).exists() or (HOME.parent / path).exists())] == []


def test_the_picture_has_every_room_in_its_order() -> None:
    """The picture's chain of rooms, from the top to the bottom, is the map of the layers turned round."""
    chain = [
        room for line in re.findall(r"^    (\w+(?: --> \w+)+)$", PAGE, re.MULTILINE) for room in line.split(" --> ")
    ]
    without_repeats = [room for index, room in enumerate(chain) if index == 0 or room != chain[index - 1]]
    assert without_repeats == [room or "root" for room in reversed(ROOMS)]
