"""Reads `llvm-cov export -summary-only`: lines that were run, by folder of engine/, and the files with the most that
were not. Ends with 1 when a folder that is held to a share has less."""

import collections
import json
import sys

AT_LEAST = {"proto": 90, "queue": 90, "channel": 90, "net": 90, "api": 90}  # percent of lines
SHOWN = 15

folders = collections.defaultdict(lambda: [0, 0])
files = []
for entry in json.load(sys.stdin)["data"][0]["files"]:
    _, engine, path = entry["filename"].rpartition("/engine/")
    if not engine or path.endswith("_test.c"):
        continue
    folder = path.rpartition("/")[0] or "."
    lines = entry["summary"]["lines"]
    folders[folder][0] += lines["covered"]
    folders[folder][1] += lines["count"]
    files.append((lines["count"] - lines["covered"], lines["count"], path))

status = 0
print(f"{'folder':12}{'lines':>8}{'run':>8}{'percent':>9}")
for folder, (run, count) in sorted(folders.items()):
    percent = 100 * run / count if count else 100
    short = percent < AT_LEAST.get(folder, 0)
    status |= short
    print(f"{folder:12}{count:8}{run:8}{percent:9.1f}" + (f"  below {AT_LEAST[folder]}" if short else ""))
print("\nfiles with the most lines that were not run:")
for missed, count, path in sorted(files, reverse=True)[:SHOWN]:
    print(f"{missed:5} of {count:4}  {path}")
sys.exit(status)
