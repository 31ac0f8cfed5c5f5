"""Drives the probe, a consumer on the C library: a command a line goes in, each callback comes out as a line."""

import json

from harness import wait_until

COMMANDS = ("send", "send_binary", "publish", "publish_binary", "subscribe", "unsubscribe", "set_context_value",
            "set_context")
FOREVER = ("--timeout-ms", "600000")  # for tests that answer only after they have sent or read very much


class Probe:
    def __init__(self, program):
        self.program, self.lines, self.read = program, [], 0
        self.tags = []

    def do(self, what, **members):
        """Returns the tag, by which `reply` finds the outcome of a command."""
        if what in COMMANDS:
            members["tag"] = f"{what} {len(self.tags)}"
            self.tags.append(members["tag"])
        self.write(json.dumps({"do": what, **members}))
        return members.get("tag")

    def write(self, line):
        self.program.process.stdin.write(line.encode() + b"\n")
        self.program.process.stdin.flush()

    def poll(self):
        with open(self.program.stdout_path, "rb") as out:
            out.seek(self.read)
            complete, newline, _ = out.read().rpartition(b"\n")
        self.read += len(complete + newline)
        self.lines += [json.loads(line) for line in complete.splitlines()]
        return self.lines

    def of(self, on, **match):
        """All lines of that kind with these members, so far."""
        return [line for line in self.poll()
                if line["on"] == on and all(line.get(k) == v for k, v in match.items())]

    def wait(self, on, count=1, limit=20, **match):
        """The line that is the `count`-th of its kind."""
        def there():
            found = self.of(on, **match)
            assert len(found) >= count or self.running(), f"ended: {self.program.stderr()}"
            return found[count - 1] if len(found) >= count else None
        try:
            return wait_until(there, limit)
        except AssertionError as error:
            raise AssertionError(f"{error}: {on} {match} is not the {count}th; last lines: {self.lines[-5:]}") from None

    def running(self):
        return self.program.process.poll() is None

    def reply(self, tag):
        return self.wait("reply", tag=tag)

    def notice(self, kind, count=1, **match):
        return self.wait("notice", count, kind=kind, **match)

    def event(self, count=1, limit=20):
        return self.wait("event", count, limit)

    def events(self):
        return [line["data"] for line in self.of("event")]

    def stop(self):
        """Closes it; each command must have had one outcome by then."""
        if self.running() and not self.of("closed"):
            self.do("close")
        status = self.program.wait()
        assert status == 0, f"status {status}: {self.program.stderr()}"
        assert len(self.of("closed")) == 1 and self.lines[-1]["on"] == "closed", self.lines[-3:]
        for tag in self.tags:
            outcomes = self.of("reply", tag=tag) + self.of("refused", tag=tag)
            assert len(outcomes) == 1, f"command {tag}: {outcomes}"
