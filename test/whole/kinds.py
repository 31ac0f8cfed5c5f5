"""The three kinds of server: one application (a module `app`) runs on each of them."""

from harness import FIXTURES

KINDS = {"generation 1": {}, "socket": {"protocol": "socket"}, "websocket": {"protocol": "websocket"}}
ENTRIES = {kind: FIXTURES / "kinds" / f"{kind.replace(' ', '_')}.lua" for kind in KINDS}
PATH = "/chat"


def make(make_engine, kind, app, *, server=None, options=None, **more):
    """An engine with the application `app`, the text of a module or the path of one."""
    text = app if isinstance(app, str) else app.read_text()
    return make_engine(ENTRIES[kind], files={"app.lua": text}, server={**KINDS[kind], **(server or {})},
                       options={"path": PATH, **(options or {})}, **more)
