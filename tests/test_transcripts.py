"""Every transcript under tests/transcripts runs, byte for byte, in virtual time."""

from pathlib import Path

import pytest

from bridge.transcripts.run import run_file
from bridge.transcripts.script import parse

FOLDER = Path(__file__).parent / "transcripts"
FILES = sorted(FOLDER.rglob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_transcript(path):
    result = run_file(path)
    assert result.ok, "\n" + result.message


def test_every_transcript_names_its_source():
    for path in FILES:
        script = parse(path.read_text("utf-8"), path.name)
        assert script.source, f"{path.name}: add a '# Source:' line: a public document and section"
