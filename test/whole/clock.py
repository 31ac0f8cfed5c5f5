"""The wall clock of one process, to be set by a test: test/whole/clock_step.c, preloaded."""

import mmap
import os
import pathlib
import struct

import harness


def library():
    return os.path.abspath(os.environ.get("CLOCK") or harness.ROOT / "build" / "release" / "tests" / "libclock_step.so")


class Shim:
    def __init__(self, folder):
        path = pathlib.Path(folder) / "clock-step"
        path.write_bytes(bytes(8))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 8)
        # A sanitizer's runtime wants to be the first library, and need not be.
        asan = os.environ.get("ASAN_OPTIONS", "")
        self.env = {"LD_PRELOAD": library(), "CLOCK_STEP": str(path),
                    "ASAN_OPTIONS": ":".join(filter(None, [asan, "verify_asan_link_order=0"]))}

    def step(self, seconds):
        """Forward or, below 0, back."""
        self.map[:] = struct.pack("=q", struct.unpack("=q", self.map[:])[0] + seconds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.map.close()
