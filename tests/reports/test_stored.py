"""Records read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_stormdb.errors import PlanError
from pytest_stormdb.record import SessionRecord
from pytest_stormdb.reports.document import document, write
from pytest_stormdb.reports.stored import load_document

from ..records import plain_record


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """A document comes back as it was."""
    out = tmp_path / "run.json"
    write(document(SessionRecord((plain_record(),))), out)
    assert load_document(out)["runs"][0]["nodeid"] == "test_shop.py::test_read"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is no JSON: "),
        ("[" * 100_000, "is no JSON: "),
        ("[]", "is no run record; one is written by pytest --stormdb-json=run.json"),
        ('{"format": 3}', "is no run record"),
        ('{"format": "other/1"}', "is no run record"),
        (
            '{"format": "stormdb-run/2"}',
            "has the format 'stormdb-run/2'; this version of pytest-stormdb reads stormdb-run/1",
        ),
        ('{"format": "stormdb-run/1"}', "key 'runs' is missing or no list; the file is damaged"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    """One sentence names the file and what is wrong with it."""
    out = tmp_path / "run.json"
    out.write_text(text)
    with pytest.raises(PlanError) as caught:
        load_document(out)
    assert str(caught.value).startswith(f"{out}: {complaint}")


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    """Missing files and bytes that are no UTF-8 are sentences too."""
    with pytest.raises(PlanError, match=r"cannot be read: No such file or directory"):
        load_document(tmp_path / "none.json")
    (tmp_path / "raw.json").write_bytes(b"\xff\xfe")
    with pytest.raises(PlanError, match="is no JSON: "):
        load_document(tmp_path / "raw.json")


def test_json_is_read_with_unknown_keys(tmp_path: Path) -> None:
    """A later version of the same format may say more."""
    out = tmp_path / "run.json"
    out.write_text(json.dumps({"format": "stormdb-run/1", "runs": [], "more": 1}))
    assert load_document(out)["more"] == 1
