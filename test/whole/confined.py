"""`confined.py UNIT PROGRAM ARGUMENTS…`: becomes that program, with no system calls and address families but those
which a unit for systemd allows. Where systemd would answer a call that is not allowed with an error, the process ends
by SIGSYS, so that none goes unnoticed. Debian packages: systemd (for its groups of calls), python3-seccomp."""

import errno
import os
import re
import socket
import subprocess
import sys

import seccomp


def settings(unit, key):
    """The words of each line that sets the key."""
    with open(unit) as lines:
        return [found[1].split() for line in lines if (found := re.match(rf"{key}=(.*)", line))]


def members(word):
    """The calls of a group, also those of the groups in it."""
    if not word.startswith("@"):
        return {word}
    told = subprocess.run(["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True)
    inner = [line.strip() for line in told.stdout.splitlines()[1:] if not line.strip().startswith("#")]
    return set().union(*map(members, filter(None, inner)))


def allowed_calls(unit):
    calls = set()
    for words in settings(unit, "SystemCallFilter"):
        if words[0].startswith("~"):
            calls -= set().union(*map(members, [words[0][1:], *words[1:]]))
        else:
            calls |= set().union(*map(members, words))
    return calls


def confine(unit):
    rules = seccomp.SyscallFilter(seccomp.KILL_PROCESS)
    for call in allowed_calls(unit) - {"socket"}:
        try:
            rules.add_rule(seccomp.ALLOW, call)
        except RuntimeError:
            pass  # of another architecture
    families = {int(getattr(socket, name)) for words in settings(unit, "RestrictAddressFamilies") for name in words}
    for family in range(max(families) + 1):
        action = seccomp.ALLOW if family in families else seccomp.ERRNO(errno.EAFNOSUPPORT)
        rules.add_rule(action, "socket", seccomp.Arg(0, seccomp.EQ, family))
    rules.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket", seccomp.Arg(0, seccomp.GT, max(families)))
    rules.load()


if __name__ == "__main__":
    confine(sys.argv[1])
    os.execv(sys.argv[2], sys.argv[2:])
