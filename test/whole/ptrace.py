"""One thread of an engine stands still, as it does in a write to a disk that does not answer."""

import ctypes
import os
import pathlib

import pytest

from harness import wait_until

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000


class Stopped:
    def __init__(self, pid, name):
        tasks = pathlib.Path(f"/proc/{pid}/task")
        self.task = next(int(task.name) for task in tasks.iterdir() if (task / "comm").read_text() == name + "\n")
        # Asleep it waits for lines, and is within no lock.
        wait_until(lambda: (tasks / str(self.task) / "stat").read_text().rsplit(")", 1)[1].split()[0] == "S", 10, "its rest")
        self.libc = ctypes.CDLL(None, use_errno=True)
        if self._ptrace(PTRACE_SEIZE) != 0:
            pytest.skip("may not trace a process here: " + os.strerror(ctypes.get_errno()))
        assert self._ptrace(PTRACE_INTERRUPT) == 0
        os.waitpid(self.task, WALL)

    def _ptrace(self, request):
        return self.libc.ptrace(request, self.task, None, None)

    def go_on(self):
        assert self._ptrace(PTRACE_DETACH) == 0

    def wait_end(self):
        os.waitpid(self.task, WALL)


def stop_writer(engine, client):
    client.lua("mix.log(mix.INFO, 'the last before')")
    wait_until(lambda: "the last before" in engine.log(), 10, "the line")
    return Stopped(engine.process.pid, "log")
