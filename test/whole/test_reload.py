"""Scripts that are saved while the engine runs: what follows, what stays, and what goes wrong."""

import itertools
import re
import signal
import threading

import pytest

import lab
import wsclient
from consumer import Api, Consumer
from harness import SLOW, seconds, times, wait_until
from lab import Lab, on_two_workers, spinning
from swarm import Swarm

SCRIPT = lab.ENTRY.read_text()
OF_BOTH = "return edition, require('module').edition"


def edition(number, code="", after=""):
    """The lab's script with code of its own in its first line, and after its last."""
    return f"edition = {number}; {code} {SCRIPT}\n{after}\n"


def module(number):
    return f"return {{ edition = {number} }}\n"


def start(make_engine, entry=None, expires=0, **options):
    options.setdefault("server", {"byteCodeExpires": expires})
    return make_engine(entry or edition(1), **options)


def hang_up(engine):
    engine.process.send_signal(signal.SIGHUP)


def replace(path, text):
    """As careful editors save: readers see the old file or the new one."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def save(engine, entry, name="entry.lua"):
    replace(engine.folder / "lua" / name, entry)


def load(engine, entry, name="entry.lua"):
    """Saves it and has it loaded; waits until it is."""
    begin = engine.log_path.stat().st_size
    save(engine, entry, name)
    hang_up(engine)
    wait_until(lambda: b"reload: reloaded " in engine.log_path.read_bytes()[begin:], 10, "the reload")


def fail_to_load(engine, pattern):
    before = engine.metric("mixengine_reload_failures_total")
    hang_up(engine)
    engine.wait_metric("mixengine_reload_failures_total", before + 1)
    engine.wait_output(pattern)


# ---- when

def test_dev_loads_what_is_saved_whatever_byteCodeExpires_says(make_engine):
    engine = start(make_engine, mode="dev", expires=0)
    with Lab(engine.port) as client:
        for number in (2, 3):
            save(engine, edition(number))
            wait_until(lambda: client.lua("return edition") == [number], 5, "the saved script")
    assert len(re.findall(r"reloaded \S*entry\.lua in \d+ ms", engine.log())) == 2


def test_byteCodeExpires_is_the_time_between_looks(make_engine):
    engine = start(make_engine, expires=1)
    with Lab(engine.port) as client:
        save(engine, edition(2))
        wait_until(lambda: client.lua("return edition") == [2], 5, "the saved script")


def test_byteCodeExpires_0_is_never(make_engine):
    other = {"port": 0, "bind": "127.0.0.1", "entry": "lua/entry.lua", "byteCodeExpires": 1}
    engine = start(make_engine, expires=0, servers=[other])
    with Lab(engine.port) as client:
        save(engine, edition(2))
        engine.wait_metric("mixengine_reloads_total", 1)  # of the other server
        assert client.lua("return edition") == [1]


def test_hang_up_loads_all_servers(make_engine):
    other = {"port": 0, "bind": "127.0.0.1", "entry": "lua/other.lua", "byteCodeExpires": 0}
    engine = start(make_engine, servers=[other], files={"other.lua": SCRIPT})
    a, b = on_two_workers(engine.port)
    save(engine, edition(2))
    hang_up(engine)
    engine.wait_metric("mixengine_reloads_total", 2)
    assert a.lua("return edition") == b.lua("return edition") == [2]


def test_a_second_hang_up_is_not_lost(make_engine):
    engine = start(make_engine)
    with Lab(engine.port) as client:
        for number in range(2, 12):
            save(engine, edition(number))
            hang_up(engine)
        wait_until(lambda: client.lua("return edition") == [11], 10, "the last script")


# ---- what is watched

def test_required_modules_are_watched_and_loaded_with_the_entry(make_engine):
    engine = start(make_engine, edition(1, "require('deep.module')"), mode="dev",
                   files={"deep/module.lua": "return require('module')", "module.lua": module(1)})
    with Lab(engine.port) as client:
        assert client.lua(OF_BOTH) == [1, 1]
        save(engine, module(2), "module.lua")
        wait_until(lambda: client.lua(OF_BOTH) == [1, 2], 5, "the saved module")
        assert client.lua("return require('deep.module') == require('module')") == [True]


def test_a_module_that_one_worker_requires_is_watched(make_engine):
    engine = start(make_engine, edition(1, "if mix.worker_id() == 1 then require('module') end"), mode="dev",
                   files={"module.lua": module(1)})
    save(engine, module(2), "module.lua")
    engine.wait_metric("mixengine_reloads_total", 1)


def test_a_module_that_a_handler_requires_is_watched(make_engine):
    engine = start(make_engine, mode="dev", files={"module.lua": module(1)})
    with Lab(engine.port) as client:
        assert client.lua(OF_BOTH) == [1, 1]
        save(engine, module(2), "module.lua")
        wait_until(lambda: client.lua(OF_BOTH) == [1, 2], 5, "the saved module")


def test_a_new_file_that_comes_before_a_shipped_one_is_noticed(make_engine):
    engine = start(make_engine, mode="dev")
    with Lab(engine.port) as client:
        save(engine, "own = true", "prettyprint.lua")
        wait_until(lambda: client.lua("return own") == [True], 5, "the new file")
        (engine.folder / "lua" / "prettyprint.lua").unlink()
        wait_until(lambda: client.lua("return own") == [None], 5, "the shipped file")


def test_a_missing_module_is_waited_for(make_engine):
    engine = start(make_engine, mode="dev")
    with Lab(engine.port) as client:
        save(engine, edition(2, "require('module')"))
        engine.wait_output(r"module 'module' not found:")
        save(engine, module(2), "module.lua")
        wait_until(lambda: client.lua("return edition") == [2], 5, "the script with its module")


def test_a_deleted_script_is_waited_for(make_engine):
    engine = start(make_engine, mode="dev")
    with Lab(engine.port) as client:
        (engine.folder / "lua" / "entry.lua").unlink()
        engine.wait_output(r"cannot open \S*entry\.lua: No such file")
        assert client.lua("return edition") == [1]
        save(engine, edition(2))
        wait_until(lambda: client.lua("return edition") == [2], 5, "the new script")


def test_a_file_that_is_written_in_place(make_engine):
    engine = start(make_engine, mode="dev")
    text = edition(2)
    with Lab(engine.port) as client:
        with open(engine.folder / "lua" / "entry.lua", "w") as file:
            for at in range(0, len(text), 100):
                file.write(text[at:at + 100])
                file.flush()
        wait_until(lambda: client.lua("return edition") == [2], 5, "the whole script")


def test_files_that_change_while_they_are_read_are_read_again(make_engine):
    """The new script itself saves its module once more: what was read is never put to use."""
    engine = start(make_engine, edition(1, "require('module')"), files={"module.lua": module(1)})
    saving = f"""
        if require('module').edition == 2 then
            local file = io.open('lua/module.lua', 'w')
            file:write({module(30)!r})
            file:close()
        end"""
    with Lab(engine.port) as client:
        save(engine, module(2), "module.lua")
        load(engine, edition(2, saving.replace("\n", " ")))
        assert client.lua(OF_BOTH) == [2, 30]
    assert engine.metric("mixengine_reloads_total") == 1


# ---- what goes wrong: the old code goes on everywhere, and the log says why

BROKEN = {
    "a syntax error": ("x = = 1", r"entry\.lua:1: unexpected symbol near '='"),
    "an error in the chunk": ("\nerror('chunk is broken')", r"entry\.lua:2: chunk is broken"),
    "an error in the chunk of one worker":
        ("if mix.worker_id() == 1 then error('here alone') end", r"worker 1: \S*entry\.lua:1: here alone"),
    "an error in a module": ("require('module')", r"module\.lua:2: module is broken"),
    "a module that is not there": ("require('nobody')", r"module 'nobody' not found:\s+no field"),
    "a call that waits": ("assert(mix.sleep(1) == nil)", r"entry\.lua:1: assertion failed"),
    "a chunk that does not return": ("while true do end", r"entry\.lua:1: the script has not returned within 3 s"),
    "files that change whenever it is loaded":
        ("require('module') local f = io.open('lua/module.lua', 'a') f:write(' ') f:close()",
         "its files change each time they are read"),
    "one that catches all": ("while true do pcall(function() while true do end end) end", r"not returned within 3 s"),
    "a coroutine that does not return": ("coroutine.wrap(function() repeat until false end)()",
                                         r"not returned within 3 s"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_script_that_does_not_load_changes_nothing(make_engine, name):
    code, pattern = BROKEN[name]
    broken = "\nerror('module is broken')" if name == "an error in a module" else "return {}"
    engine = start(make_engine, files={"module.lua": broken})
    a, b = on_two_workers(engine.port)
    save(engine, edition(2, code))
    fail_to_load(engine, pattern)
    assert re.search(r"entry\.lua is not loaded again, the scripts in use go on: ", engine.log())
    for client in (a, b):
        assert client.lua("return edition, ('x'):rep(2)") == [1, "xx"]
    load(engine, edition(3))
    for client in (a, b):
        assert client.lua("return edition") == [3]


@pytest.mark.parametrize("code", ["function init() error('init is broken') end",
                                  "function init() if mix.worker_id() == 0 then error('init is broken') end end"])
def test_an_error_in_init_changes_nothing(make_engine, code):
    engine = start(make_engine)
    a, b = on_two_workers(engine.port)
    save(engine, edition(2, after="\n" + code))
    fail_to_load(engine, r"init\(\): \S*entry\.lua:\d+: init is broken")
    assert a.lua("return edition") == b.lua("return edition") == [1]


def test_a_failure_is_told_once(make_engine):
    engine = start(make_engine, mode="dev")
    with Lab(engine.port) as client:
        save(engine, "x = = 1")
        engine.wait_output(r"entry\.lua:1:")
        save(engine, edition(2))
        wait_until(lambda: client.lua("return edition") == [2], 5, "the repaired script")
        assert engine.log().count("is not loaded again") == 1
        assert engine.metric("mixengine_reload_failures_total") == 1


def test_a_failed_script_leaves_nothing_behind(make_engine):
    """Libraries that it patched, globals, modules, and what it did to queues and channels."""
    engine = start(make_engine, edition(1, "require('module')"), files={"module.lua": module(1)})
    a, b = on_two_workers(engine.port)
    for client in (a, b):
        client.lua("conn:subscribe('news')")
    with Consumer(engine.api_port, topics=["t"]) as consumer:
        consumer.wait_consuming()
        save(engine, module(2), "module.lua")
        save(engine, edition(2, "require('module')", after="""
            function string.upper() return 'patched' end
            mix.time = nil
            function init()
                mix.queue.new('t', 5)
                assert(mix.queue.push('t', {from = 'broken'}))
                mix.mesh.publish('news', 'broken')
                mix.timer(0, function() mix.queue.push('t', {from = 'its timer'}) end)
                error('init is broken')
            end"""))
        fail_to_load(engine, "init is broken")
        for client in (a, b):
            assert client.lua(OF_BOTH + ", ('x'):upper(), type(mix.time)") == [1, 1, "X", "function"]
        a.lua("mix.queue.push('t', {from = 'after'})")
        consumer.wait_events(1)
        assert [event.data for event in consumer.events] == [{"from": "after"}]
        assert a.ask("echo") == b.ask("echo") == "echo"


def test_a_worker_that_is_busy_keeps_the_old_code_everywhere(make_engine):
    engine = start(make_engine, mode="dev")
    a, b = on_two_workers(engine.port)
    with spinning(a, engine, "return edition"):
        save(engine, edition(2))
        engine.wait_output("not every worker has answered within 5 s")
        assert b.lua("return edition") == [1]
    assert a.text() == "+ n1"
    wait_until(lambda: a.lua("return edition") == b.lua("return edition") == [2], 10, "the new script")


def test_a_worker_that_was_busy_at_a_hang_up_is_waited_for(make_engine):
    """Nobody looks at the files otherwise."""
    engine = start(make_engine)
    a, b = on_two_workers(engine.port)
    with spinning(a, engine, "return edition"):
        save(engine, edition(2))
        hang_up(engine)
        engine.wait_output("not every worker has answered within 5 s")
        assert b.lua("return edition") == [1]
    assert a.text() == "+ n1"
    wait_until(lambda: a.lua("return edition") == b.lua("return edition") == [2], 10, "the new script")


# ---- what lives on

def test_connections_contexts_and_subscriptions_live_on(make_engine):
    engine = start(make_engine)
    a, b = on_two_workers(engine.port)
    for client in (a, b):
        client.lua("conn:subscribe('news') conn:set_context_value('uid', 7) kept = conn")
        client.lua("conn:context().me = conn")
    load(engine, edition(2, after="""
        local plain = protocol_encode
        function protocol_encode(str, conn, type) return plain('new ' .. str, conn, type) end"""))
    for client in (a, b):
        assert client.lua("return edition, kept, conn:context_value('uid'), conn:context().me == conn") == [
            2, None, 7, True]
    a.send("~mix.mesh.publish('news', 'hello')")
    assert a.text() == b.text() == "new hello"
    assert engine.metric("mixengine_connections") == 2


def test_scripts_of_generation_2_are_loaded_again_too(make_engine):
    entry = """function on_message(message)
        local conn = mix.websocket()
        conn:context().count = (conn:context().count or 0) + 1
        conn:send(("EDITION %d %s"):format(conn:context().count, message.data))
    end"""
    engine = start(make_engine, entry.replace("EDITION", "1"), server={"protocol": "websocket", "byteCodeExpires": 0})
    with wsclient.connect(engine.port, "/") as client:
        assert client.ask("a") == "1 1 a"
        load(engine, entry.replace("EDITION", "2"))
        assert client.ask("b") == "2 2 b"
        with wsclient.connect(engine.port, "/") as other:
            assert other.ask("c") == "2 1 c"


WAITING = {
    "wait_context_value": "local v = conn:wait_context_value('go', 200) assert(v == 1)",
    "sleep": "mix.sleep(20) conn:context().go = nil",
    "push": "assert(mix.queue.push('full', {}))",
}


@pytest.mark.parametrize("name", WAITING)
def test_a_suspended_handler_finishes_in_the_code_it_began_in(make_engine, name):
    """Globals, modules, string methods and what it compiles; new messages meet the new code."""
    method = "function string.shout() return 'old' end"
    engine = start(make_engine, edition(1, method + " require('module')"), files={"module.lua": module(1)},
                   options={"topics": "full:1"}, queue={"fullTimeout": 60})
    wait = WAITING[name].replace("mix.sleep(20)", "repeat mix.sleep(0.05) until conn:context_value('go')")
    old, new = Lab(engine.port), Lab(engine.port)
    new.lua("mix.queue.push('full', {})")
    old.send(f"={wait} return edition, require('module').edition, ('x'):shout(), "
             "loadstring('return edition')(), getfenv(0) == _G, coroutine.wrap(function() return edition end)()")
    engine.wait_metric("mixengine_tasks_suspended", 1)
    for number in (2, 3):
        save(engine, module(number), "module.lua")
        load(engine, edition(number, method.replace("old", "new") + " require('module')"))
    assert new.lua(OF_BOTH + ", ('x'):shout()") == [3, 3, "new"]
    assert engine.metric("mixengine_tasks_suspended") == 1
    old.send("=" + OF_BOTH)
    with Consumer(engine.api_port, topics=["full"]) as consumer:
        consumer.conn_call(old.id, "set_context_value", "go", 1)
        assert lab.values(old.text()) == [1, 1, "old", 1, True, 1]
        assert lab.values(old.text()) == [3, 3]
        assert new.lua(OF_BOTH + ", ('x'):shout()") == [3, 3, "new"]


def test_a_client_that_closes_during_a_wait_meets_the_new_on_close(make_engine):
    engine = start(make_engine, options={"topics": "t:10"})
    with Consumer(engine.api_port, topics=["t"]) as consumer:
        with Lab(engine.port) as client:
            client.send("=conn:wait_context_value('go', 60)")
            engine.wait_metric("mixengine_tasks_suspended", 1)
            load(engine, edition(2, after="function on_close() mix.queue.push('t', {edition = edition}) end"))
        consumer.wait_events(1)
        assert consumer.events[0].data == {"edition": 2}


# ---- timers

def test_timers_die_with_their_generation(make_engine):
    """Those to come, those that repeat themselves, and those that are suspended."""
    ticking = """
        local function tick() mix.queue.push('t', {edition = edition}) mix.timer(0.1, tick) end
        local function loop() while true do mix.sleep(0.1) mix.queue.push('t', {edition = edition, loop = true}) end end
        function init() mix.queue.new('t', 1000) mix.timer(0, tick) mix.timer(0, loop) end"""
    engine = start(make_engine, edition(1, after=ticking), workers=1)
    with Consumer(engine.api_port, topics=["t"]) as consumer, Lab(engine.port) as client:
        consumer.wait_events(4)
        late = seconds(1)
        client.lua(f"mix.timer({late}, function() mix.queue.push('t', {{late = true}}) end)")
        load(engine, edition(2, after=ticking))
        begun = len(consumer.events)
        consumer.wait_events(begun + 30 * late, limit=30)
        values = [event.data for event in consumer.events]
        first = next(i for i, value in enumerate(values) if value.get("edition") == 2)
        assert all(value.get("edition") == 2 for value in values[first:])
        assert {"edition": 2} in values and {"edition": 2, "loop": True} in values
        assert not any("late" in value for value in values)


def test_a_handler_of_the_old_code_sets_no_timer(make_engine):
    engine = start(make_engine)
    with Lab(engine.port) as client:
        client.send("=conn:wait_context_value('go', 200) return mix.timer(0, print)")
        engine.wait_metric("mixengine_tasks_suspended", 1)
        load(engine, edition(2))
        Api(engine.api_port).func(client.id, "set_context_value", "go", 1)
        assert lab.values(client.text()) == [None, "the script has been loaded anew, or the engine stops"]


# ---- what the chunk and init do outside

def test_effects_of_init_come_once_with_the_commit(make_engine):
    engine = start(make_engine, queue={"full": "error"})
    a, b = on_two_workers(engine.port)
    for client in (a, b):
        client.lua("conn:subscribe('news')")
    with Consumer(engine.api_port, topics=["t"]) as consumer:
        consumer.wait_consuming()
        load(engine, edition(2, after=f"""
            mix.queue.push('t', 'from the chunk')
            function init()
                mix.queue.new('small', 1)
                local value = {{worker = mix.worker_id()}}
                pushed = {{mix.queue.push('t', value)}}
                value.worker = 'changed'
                assert(mix.mesh.send('{a.id}', 'sent') == nil)
                published = {{mix.mesh.publish('news', 'published')}}
            end"""))
        consumer.wait_events(4)
        got = sorted(str(event.data) for event in consumer.events)
        assert got == ["from the chunk", "from the chunk", "{'worker': 0}", "{'worker': 1}"]
        assert sorted(a.text() for _ in range(4)) == ["published", "published", "sent", "sent"]
        assert b.text() == b.text() == "published"
        assert a.lua("return pushed[1], published[1], published[2]") == [1, 1, 0]
        assert a.lua("return mix.queue.push('small', {}), mix.queue.push('small', {})") == [1, None, "queue is full"]


def test_a_push_that_does_not_fit_at_the_commit_is_told(make_engine):
    engine = start(make_engine, options={"topics": "t:1"})
    with Lab(engine.port) as client:
        client.lua("mix.queue.push('t', {})")
        load(engine, edition(2, "mix.queue.push('t', {})"))
        engine.wait_output("what the script did while it was loaded: queue is full")
        assert client.lua("return edition") == [2]


# ---- the environment of a generation

def test_libraries_are_each_generations_own(make_engine):
    engine = start(make_engine, edition(1, "function string.shout(s) return s:upper() .. '!' end mix.extra = 1 "
                                           "string.len = nil"))
    with Lab(engine.port) as client:
        assert client.lua("return ('a'):shout(), mix.extra, string.len") == ["A!", 1, None]
        load(engine, edition(2))
        assert client.lua("return string.shout, mix.extra, ('abc'):len(), package.loaded.string == string, "
                          "require('string') == string, _G.package.loaded._G == _G") == [
                              None, None, 3, True, True, True]


def test_an_index_of_strings_is_its_generations_own(make_engine):
    at = "getmetatable('').__index = function(s, i) return type(i) == 'number' and s:sub(i, i) .. edition or string[i] end"
    engine = start(make_engine, edition(1, at), workers=1)
    with Lab(engine.port) as old, Lab(engine.port) as new:
        assert new.lua("return ('abc')[2]") == ["b1"]
        save(engine, "x = = 1")
        fail_to_load(engine, "unexpected symbol")
        assert new.lua("return ('abc')[2]") == ["b1"]
        old.send("=conn:wait_context_value('go', 200) return ('abc')[2]")
        engine.wait_metric("mixengine_tasks_suspended", 1)
        load(engine, edition(2))
        assert new.lua("return ('abc')[2], ('abc'):upper()") == [None, "ABC"]
        Api(engine.api_port).func(old.id, "set_context_value", "go", 1)
        assert lab.values(old.text()) == ["b1"]
        load(engine, edition(3, at))
        assert new.lua("return ('abc')[2]") == ["b3"]


@pytest.mark.parametrize("code", ["getmetatable('').__index = nil", "debug.setmetatable('', nil)"])
def test_strings_without_methods_do_not_outlive_their_script(make_engine, code):
    engine = start(make_engine)
    with Lab(engine.port) as client:
        load(engine, edition(2, after=f"local first = init function init() first() {code} end"))
        load(engine, edition(3))
        assert client.lua("return edition, ('x'):rep(2)") == [3, "xx"]


def test_clients_of_another_protocol_than_the_new_scripts(make_engine):
    """No handshake is waited for where none can come, nor of clients that have spoken."""
    plain = """
        function protocol_input(buf, conn) return buf:length() end
        function on_message(data, conn) mix.mesh.send(conn:client_id(), data .. 'EDITION ') end"""
    engine = start(make_engine, server={"byteCodeExpires": 0, "handshakeTimeout": seconds(2)})
    with wsclient.Client(engine.port) as silent, wsclient.Client(engine.port) as client:
        engine.wait_metric("mixengine_connections", 2)
        load(engine, plain.replace("EDITION", "1"))
        client.raw(b"a")
        assert client.line(b" ") == b"a1"
        assert silent.silent(seconds(2) + 0.5) and client.silent(0.01)
        load(engine, "require('protocols/websocket')" + plain.replace("EDITION", "2"))
        client.raw(b"b")
        assert client.line(b" ") == b"b2"


def test_system_modules_are_loaded_once(make_engine):
    types = "ffi = require('ffi') if not pcall(ffi.typeof, 'reload_t') then " \
            "ffi.cdef[[ typedef struct { int x; } reload_t; ]] end "
    engine = start(make_engine, edition(1, types + "c = require('cjson') c.mark = 1"))
    with Lab(engine.port) as client:
        load(engine, edition(2, types + "c = require('cjson') new = require('table.new')"))
        assert client.lua("return edition, c.mark, package.loaded.cjson == c, ffi.sizeof('reload_t'), type(new), "
                          "c.encode({1})") == [2, 1, True, 4, "function", "[1]"]


def test_package_path_and_module(make_engine):
    """package.path of the script is looked at, module() makes a global of its generation."""
    engine = start(make_engine, edition(1, "package.path = package.path .. ';' .. mix.server.option('more') .. "
                                           "'/?.x' require('extra')"),
                   options={"more": "lua/elsewhere"},
                   files={"elsewhere/extra.x": "module('extra', package.seeall) edition = 1 function own() return "
                                               "_G.edition end"})
    with Lab(engine.port) as client:
        assert client.lua("return extra.edition, extra.own()") == [1, 1]
        load(engine, "module('extra', package.seeall) edition = 2", "elsewhere/extra.x")
        assert client.lua("return extra.edition, extra.own") == [2, None]


# ---- under load

@pytest.mark.timeout(seconds(900))
def test_a_thousand_reloads_under_traffic(make_engine):
    """None dropped, none served by a half-loaded script, and memory stays where it is."""
    script = """
        local module, websocket = require('module'), require('protocols/websocket')
        local edition = EDITION
        function protocol_input(buf, conn) return websocket.input(buf, conn, '/') end
        function protocol_decode(str, conn) return websocket.decode(conn) end
        function protocol_encode(str, conn, type) return websocket.encode(str, type) end
        function init() mix.queue.new('t', 100) mix.timer(1000, function() end) end
        function on_message(message, conn)
            conn:context().count = (conn:context().count or 0) + 1
            websocket.send_text(conn, ('%d %d %d'):format(edition, module.edition, conn:context().count))
        end"""
    rounds = times(1000)
    engine = start(make_engine, script.replace("EDITION", "1"), files={"module.lua": module(1)},
                   server={"byteCodeExpires": 0, "pingInterval": 0})
    swarm = Swarm(engine.port, times(5000))
    memory, failures, over = {}, [], threading.Event()

    def reload():
        try:
            for number in range(2, rounds + 2):
                save(engine, module(number), "module.lua")
                load(engine, script.replace("EDITION", str(number)))
                if number - 1 in (rounds // 10, rounds):
                    memory[number - 1] = engine.resident()
        except BaseException as error:
            failures.append(error)
        finally:
            over.set()

    thread = threading.Thread(target=reload)
    thread.start()
    count = 0
    last = dict.fromkeys(swarm.every(), 0)
    try:
        while not over.is_set():
            swarm.ask(wsclient.frame(wsclient.TEXT, "?"), 1)
            count += 1
            for member in swarm.every():
                of_entry, of_module, counted = map(int, member.got.pop().payload.split())
                assert of_entry == of_module >= last[member] and counted == count
                last[member] = of_entry
    finally:
        over.wait(seconds(100))
        thread.join()
    assert not failures, failures
    assert not any(member.closed for member in swarm.every())
    assert engine.metric("mixengine_connections") == len(swarm.members)
    assert SLOW or memory[rounds] < memory[rounds // 10] * 1.1 + (1 << 20), memory  # a sanitizer keeps what is freed
    swarm.drop()


def test_what_outlives_a_generation_does_not_keep_it(make_engine):
    """Connections and their objects, contexts, coroutines of the pool, timers, traces, modules."""
    engine = start(make_engine, workers=1)
    clients = []
    for number in range(2, 22):
        load(engine, edition(number, f"junk = ('{number}'):rep(1000000)"))
        clients.append(Lab(engine.port))
        clients[-1].lua("conn:set_context_value('me', conn) timer = mix.timer(1000, print) require('cjson')")
        clients[-1].send("=conn:wait_context_value('go', 0.1)")
    for client in clients:
        client.text()
    used = clients[0].lua("collectgarbage() collectgarbage() return collectgarbage('count')")[0]
    assert used < 8000, used


def test_aborted_generations_leave_no_memory(make_engine):
    engine = start(make_engine, workers=1)
    junk = "junk = {} for i = 1, 20000 do junk[i] = {i} end"
    memory = []
    for _ in range(3):
        for number in range(times(100)):
            save(engine, edition(2, junk, after=f"error('broken {number}')"))
            fail_to_load(engine, f"broken {number}")
        memory.append(engine.resident())
    assert SLOW or memory[2] < memory[1] * 1.1 + (1 << 20), memory


def test_saves_from_all_sides_while_it_stops(make_engine):
    for number in itertools.islice(itertools.count(2), times(10)):
        engine = start(make_engine, mode="dev")
        save(engine, edition(number))
        hang_up(engine)
        engine.stop()
