"""analyse.py COMPILE_COMMANDS MEMORY [FILE…]: see scripts/analyse.sh."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CPPCHECK = ["cppcheck", "--std=c11", "--language=c", "--library=posix", f"--library={ROOT}/scripts/cppcheck.cfg",
            f"--suppressions-list={ROOT}/scripts/cppcheck.txt", "--enable=warning,performance,portability",
            "--inline-suppr", "--quiet", "--error-exitcode=1", "--max-configs=1", f"-j{os.cpu_count()}",
            "--template={file}:{line}:{column}: {severity}: {message} [{id}]"]


def read_commands(path):
    commands = {}
    for entry in json.loads(pathlib.Path(path).read_text()):
        commands.setdefault(os.path.realpath(entry["file"]), entry)
    return commands


def flags_of(entry):
    """Those that say what the compiler reads."""
    words = shlex.split(entry["command"])
    pairs = zip(words, words[1:] + [""])
    return [flag for word, after in pairs for flag in ([word, after] if word == "-isystem" else [word])
            if word.startswith(("-I", "-D", "-isystem", "-std"))]


def digest_of(source, entry):
    """Of all that the answer depends on, but the headers of the system."""
    command = ["clang", "-MM", "-MF-", *flags_of(entry), source]
    rule = subprocess.run(command, cwd=entry["directory"], check=True, capture_output=True, text=True).stdout
    files = rule.replace("\\\n", " ").split()[1:]
    digest = hashlib.sha256(entry["command"].encode())
    for file in [ROOT / ".clang-tidy", *files]:
        digest.update(pathlib.Path(entry["directory"], file).read_bytes())
    return digest.hexdigest()


def tidy(source, commands, memory, again):
    mark = memory / "tidy" / digest_of(source, commands[source])
    if mark.exists() and not again:
        return ""
    done = subprocess.run(["clang-tidy", "--quiet", "-p", os.path.dirname(sys.argv[1]), source],
                          capture_output=True, text=True)
    if done.returncode == 0:
        mark.write_text(source)
        return ""
    return done.stdout


def cppcheck(sources, memory):
    (memory / "cppcheck").mkdir(exist_ok=True)
    what = [f"-I{ROOT}/engine", *sources] if sources else [f"--project={sys.argv[1]}"]
    done = subprocess.run([*CPPCHECK, f"--cppcheck-build-dir={memory}/cppcheck", *what],
                          capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def main():
    commands = read_commands(sys.argv[1])
    memory = pathlib.Path(sys.argv[2])
    (memory / "tidy").mkdir(parents=True, exist_ok=True)
    chosen = [os.path.realpath(file) for file in sys.argv[3:]]
    sources = chosen or sorted(commands)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [text for text in pool.map(lambda s: tidy(s, commands, memory, bool(chosen)), sources) if text]
    found += [text for text in [cppcheck(chosen, memory)] if text]
    print("\n".join(found), end="")
    return 1 if found else 0


sys.exit(main())
