"""The disk of a broker, full on purpose: the topics lie there, the ledger of jobs among them.

Two ways, since not everybody may mount:

- a file system of its own (tmpfs), filled up by a file beside the topics. Real ENOSPC, also where
  the broker writes through mapped memory or makes a new file. Takes the right to mount.
- RLIMIT_FSIZE of the running broker: its next append fails, with EFBIG in place of ENOSPC. New
  files are not hit, nor is what it writes through mapped memory. Takes no right.

Neither is a disk that fails, that lies about fsync, or that forgets what it has not yet written.
"""

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

DISK_MIB: Final = 256  # what a broker writes in a minute of trouble, several times over
BALLAST: Final = "ballast"
CHUNK: Final = 1 << 16


def may_mount() -> bool:
    """Whether this process may mount: root in a container often may not."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    # In a mount space of its own, which is gone when the command ends.
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"]
    tried = subprocess.run(["unshare", "--mount", *mount], capture_output=True, check=False)
    return tried.returncode == 0


@contextmanager
def small_disk(folder: Path, *, size_mib: int = DISK_MIB) -> Iterator[None]:
    """A file system of that size at the folder, which must be empty, while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size_mib}m,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    try:
        yield
    finally:
        # Lazily: a broker that was killed a moment ago may hold a file.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Take every free byte of the file system at the folder, also those that others let go of."""
    ballast = os.open(folder / BALLAST, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(ballast, bytes(CHUNK)):  # the last one is written in part
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    finally:
        os.close(ballast)


def empty(folder: Path) -> None:
    """Give them back."""
    (folder / BALLAST).unlink()


def forbid_appends(pid: int) -> None:
    """Let a process make no file longer than a byte: what ends it ends the limit, too."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
