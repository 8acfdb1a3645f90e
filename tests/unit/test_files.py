"""What a stream keeps in its folder is read up to a limit, and refused beyond it."""

from pathlib import Path

import pytest

from edge_agent.errors import ManifestError
from edge_agent.files import load_kept, read_kept


def test_a_file_of_the_largest_size_is_read_and_one_beyond_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scene.npz"
    path.write_bytes(b"12345678")
    assert read_kept(path, 8) == b"12345678"
    with pytest.raises(ManifestError, match="more than 7 bytes"):
        read_kept(path, 7)


def test_what_cannot_be_read_is_a_warning_and_what_is_not_there_is_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_kept(tmp_path / "scene.npz", lambda path: read_kept(path, 8)) is None
    assert not caplog.records
    assert load_kept(tmp_path, lambda path: read_kept(path, 8)) is None
    assert "cannot be read" in caplog.text
