"""Disks that are full: what a process that writes is told, and that there is room again."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.disks import empty, fill, forbid_appends, may_mount, small_disk

WRITER = """
import sys
with open(sys.argv[1], "ab", buffering=0) as file:
    file.write(b"before")
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        file.write(b"after")
    except OSError as error:
        print(error.errno)
"""


@pytest.mark.skipif(not may_mount(), reason="nobody may mount here")
def test_a_small_disk_is_full_and_has_room_again(tmp_path: Path) -> None:
    """Filled, nothing more can be written; emptied, it can; afterwards the folder is as it was."""
    folder = tmp_path / "disk"
    with small_disk(folder, size_mib=2):
        (folder / "before").write_bytes(b"1")
        fill(folder)
        with pytest.raises(OSError, match="No space left") as refused:
            (folder / "after").write_bytes(bytes(5000))
        assert refused.value.errno == errno.ENOSPC
        empty(folder)
        (folder / "after").write_bytes(bytes(5000))
    assert list(folder.iterdir()) == []


def test_a_process_may_append_no_more(tmp_path: Path) -> None:
    """The limit is put on while it runs, and its next append fails."""
    path = tmp_path / "file"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        forbid_appends(writer.pid)
        said, _ = writer.communicate("\n", timeout=10)
    assert said == f"{errno.EFBIG}\n"
    assert path.read_bytes() == b"before"
