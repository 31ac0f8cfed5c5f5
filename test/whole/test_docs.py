"""The documentation tells of everything that there is, and of nothing else; what it shows as an example runs."""

import ast
import re
import subprocess

import pytest

from harness import ROOT, keys_binary
from lab import ENTRY, Lab, values
from wsclient import CLOSE

DOCS = ROOT / "docs"


def text_of(name):
    return (DOCS / name).read_text()


def code_spans(text):
    return re.findall(r"`([^`\n]+)`", text)


# ---- configuration keys

def sections(text):
    """Headings that name a part of the file, as `### engine.apiServer (older: …)`, with their text."""
    found = {}
    for part in re.split(r"^#+ ", text, flags=re.M)[1:]:
        name = part.split()[0].replace("[]", "")
        found[name] = part
    return found


def section_of(path, names):
    """The part of the documentation for a key, and the key's words below it."""
    words = path.replace("[]", "").split(".")
    for length in range(len(words), 0, -1):
        name = ".".join(words[:length])
        if name in names:
            return name, words[length:]
    return None, words


CONFIGURATION = sections(text_of("configuration.md"))
KEYS = subprocess.run([keys_binary()], check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("path", KEYS)
def test_every_configuration_key_is_documented(path):
    name, words = section_of(path, CONFIGURATION)
    assert name, f"no heading of docs/configuration.md is for {path}"
    spans = " ".join(code_spans(CONFIGURATION[name]))
    for word in words:
        assert re.search(rf"\b{word}\b", spans), f"{word} is not in the part on {name}"


def documented_keys():
    for name, text in CONFIGURATION.items():
        if any(section_of(path, CONFIGURATION)[0] == name for path in KEYS):
            for cell in re.findall(r"^\| (`[^|]*)\|", text, re.M):
                for key in code_spans(re.sub(r"\(.*?\)", "", cell)):
                    yield name, key


@pytest.mark.parametrize("name, key", documented_keys())
def test_every_documented_configuration_key_exists(name, key):
    below = [path.replace("[]", "")[len(name) + 1:].split(".") for path in KEYS
             if path.replace("[]", "").startswith(name + ".")]
    known = {word for words in below for word in words} | {".".join(words) for words in below}
    known |= {name} & set(KEYS)  # a key of the whole file has a heading of its own
    assert key in known


# ---- functions of scripts

WALK = """
local found, seen = {}, {}
local function walk(prefix, tb)
    if seen[tb] then return end
    seen[tb] = true
    for name, value in pairs(tb) do
        if type(name) == "string" and not name:find("^__") then
            if type(value) == "function" then found[#found + 1] = prefix .. name end
            if type(value) == "table" then walk(prefix .. name .. ".", value) end
        end
    end
end
local function methods(prefix, object)
    walk(prefix, assert(getmetatable(object)).__index)
end
walk("mix.", mix)
methods("conn:", conn)
methods("timer:", mix.timer(1e6, print))
for _, name in ipairs{"websocket", "text", "jsonrpc"} do
    walk(name .. ".", require("protocols/" .. name))
end
table.sort(found)
return table.concat(found, " ")
"""


@pytest.fixture(scope="module")
def functions(make_shared):
    engine = make_shared(ENTRY)
    with Lab(engine.port) as client:
        return set(client.lua(WALK)[0].split()) | {"buf:" + name for name in ("read", "position", "length", "tostring")}


def named_functions(text):
    code = " ".join(code_spans(text) + re.findall(r"```lua\n(.*?)```", text, re.S))
    return set(re.findall(r"\b(?:mix\.[a-z_.0-9]*[a-z0-9]|(?:conn|buf|timer):[a-z_]+|(?:websocket|text|jsonrpc)\.[a-z_]+)(?=\s*\()",
                          code))


def test_every_function_of_scripts_is_documented(functions):
    text = text_of("scripts.md")
    spans = " ".join(code_spans(text) + re.findall(r"```lua\n(.*?)```", text, re.S))
    missing = []
    for name in sorted(functions):
        plain = name.split(".")[-1] if name.split(".")[0] in ("text", "jsonrpc") else name
        if not re.search(rf"(?<![\w.:]){re.escape(plain)}\b", spans):
            missing.append(name)
    assert not missing


def test_every_documented_function_of_scripts_exists(functions):
    assert not sorted(named_functions(text_of("scripts.md")) - functions)


# ---- metrics

def families(engine):
    text = b"".join(engine.http("GET", "/metrics", port=port)[2] for port in (engine.api_port, engine.center_port))
    return set(re.findall(r"^# TYPE (\S+)", text.decode(), re.M))


def test_every_metric_is_documented_and_every_documented_metric_exists(make_engine):
    exported = families(make_engine(ENTRY))
    documented = set(re.findall(r"\b(?:mixengine|connmix|process)_[a-z_]+", text_of("metrics.md")))
    suffixed = {name for name in documented if re.sub(r"_(sum|count)$", "", name) in exported}
    assert exported - documented == set(), "exported but not documented"
    assert documented - suffixed == set(), "documented but not exported"


# ---- examples

def examples(name):
    """Each block of Lua, with the line at which it begins."""
    text = text_of(name)
    for match in re.finditer(r"```lua\n(.*?)```", text, re.S):
        yield pytest.param(match.group(1), id=f"line {text.count(chr(10), 0, match.start()) + 1}")


EQUAL = """
local function same(a, b)
    if type(a) ~= "table" or type(b) ~= "table" then return a == b end
    for k, v in pairs(a) do if not same(v, b[k]) then return false end end
    for k in pairs(b) do if a[k] == nil then return false end end
    return true
end
"""


@pytest.fixture(scope="module")
def shared(make_shared):
    return make_shared(ENTRY)


def is_script(code):
    return re.search(r"^function ", code, re.M)


SCRIPTS = [e for e in examples("scripts.md") if is_script(e.values[0])]
SNIPPETS = [e for e in examples("scripts.md") if not is_script(e.values[0])]


@pytest.mark.parametrize("code", SCRIPTS)
def test_scripts_of_the_documentation_load(make_engine, code):
    engine = make_engine(code, start=False)
    status, _, err = engine.run("check")
    assert status == 0, err


def run_snippet(client, code):
    """Until the answer comes, or the close which the code asks for; it may send itself something before."""
    client.send("=" + code + "\nreturn true")
    while True:
        frame = client.recv_message()
        if frame.opcode == CLOSE:
            assert "conn:close" in code
            return
        if frame.text[:1] in "+-":
            assert values(frame.text) == [True]
            return


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippets_of_the_documentation_run(shared, code):
    prelude = 'local id, s = conn:client_id(), mix.php_pack("Nna*", 5, 1, "hello")\n'
    body = re.sub(r"^(.*?)\s+--> (.*)$", r"assert(same(\1, \2))", code, flags=re.M)
    with Lab(shared.port) as client:
        run_snippet(client, EQUAL + prelude + body)


# ---- compatibility

def python_tests():
    for path in (ROOT / "test" / "whole").glob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield f"{path.name}::{node.name}"


def c_tests():
    for path in (ROOT / "engine").glob("**/*_test.c"):
        for name in re.findall(r"^static void (\w+)\(void \*\*state\)", path.read_text(), re.M):
            yield f"{path.name}::{name}"


TESTS = {*python_tests(), *c_tests()}
ROWS = re.findall(r"^\| (.*) \|$", text_of("compatibility.md"), re.M)
ROWS = [row for row in ROWS if not re.match(r"(row|---) \|", row)]


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_compatibility_is_shown(row):
    """By tests that exist; or it says why it is not there."""
    name, here, *shown = re.split(r" \| ?", row)
    named = code_spans("".join(shown))
    assert name and len(shown) == 1 and re.sub(r"`[^`]+`|\s", "", shown[0]) == ""
    assert re.fullmatch(r"supported|(supported|better|ignored|not yet): .+", here)
    assert named or here.startswith(("ignored", "not yet"))
    assert [test for test in named if test not in TESTS] == [], "no such test"


def test_every_test_of_compatibility_has_a_row():
    named = set(code_spans(text_of("compatibility.md")))
    assert not {test for test in TESTS if test.startswith("test_compatibility.py::")} - named


# ---- what was tried

RELIABILITY = text_of("reliability.md")


def test_every_part_of_reliability_tells_something():
    lines = [line for line in RELIABILITY.splitlines() if line.strip()] + ["#"]
    depths = [len(line) - len(line.lstrip("#")) for line in lines]
    silent = [line for line, depth, after in zip(lines, depths, depths[1:]) if depth and 0 < after <= depth]
    assert not silent


@pytest.mark.parametrize("name", sorted({word for span in code_spans(RELIABILITY) for word in span.split()
                                         if re.fullmatch(r"test_\w+(\.py)?|(scripts|test)/[\w./]+", word)}))
def test_what_reliability_names_exists(name):
    tests = list((ROOT / "test").glob("*/test_*.py"))
    assert name in {word for path in tests for word in (path.name, path.stem)} or (ROOT / name).exists() or \
        any(f"def {name}(" in path.read_text() for path in tests)


# ---- links

PAGES = [path for folder in (ROOT, DOCS, ROOT / "examples" / "chat", ROOT / "examples" / "nginx", ROOT / "test" / "whole")
         for path in folder.glob("*.md")]


def links(path):
    """Where the relative ones lead: a path, and the name of a heading or nothing."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"\w+:", target):
            name, _, anchor = target.partition("#")
            yield (path.parent / name).resolve() if name else path, anchor


def anchors(path):
    for heading in re.findall(r"^#+ (.*)$", path.read_text(), re.M):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target, anchor in links(path):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), f"{target.name}#{anchor}"


def test_the_readme_names_every_page():
    assert not set(DOCS.glob("*.md")) - {target for target, _ in links(ROOT / "README.md")}
