"""The chat page in two browsers, on a real engine and a real chat.

Debian packages: chromium, chromium-driver, python3-selenium."""

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from harness import CHAT_ENTRY, wait_until

pytestmark = pytest.mark.timeout(180)
WEB = CHAT_ENTRY.parent / "web"
FILES = {f"web/{path.name}": path.read_text() for path in WEB.iterdir()}
EVERYONE = "Everyone"
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows",
         "--disable-renderer-backgrounding", "--lang=en-GB", "--window-size=1100,760",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]

# Each message as [own, author, text], as it stands in the page.
MESSAGES = """return [...document.querySelectorAll('#log .message')].map(m => [m.classList.contains('own'),
    m.querySelector('.author').textContent, m.querySelector('.text').textContent])"""
# What is in the list: name -> the number in its badge.
ENTRIES = """return Object.fromEntries([...document.querySelectorAll('.entry')].map(e =>
    [e.querySelector('.name').textContent, e.querySelector('.badge').hidden ? 0 : parseInt(e.querySelector('.badge').textContent)]))"""


def open_browser(folder):
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in [*FLAGS, f"--user-data-dir={folder}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)


@pytest.fixture(scope="module")
def browsers(tmp_path_factory):
    """Two, with nothing in common."""
    opened = []
    try:
        for name in ("one", "two"):
            opened.append(open_browser(tmp_path_factory.mktemp(name)))
        yield opened
    finally:
        for driver in opened:
            driver.quit()


class Tab:
    """One tab of a browser, and what its user does and sees there."""

    def __init__(self, driver, engine, kind="tab"):
        self.driver = driver
        driver.switch_to.new_window(kind)
        self.handle = driver.current_window_handle
        self.url = f"http://127.0.0.1:{engine.api_port}/?server=ws://127.0.0.1:{engine.port}/chat"
        self.load()

    def use(self):
        if self.driver.current_window_handle != self.handle:
            self.driver.switch_to.window(self.handle)
        return self.driver

    def load(self):
        self.use().get(self.url)

    def run(self, script, *words):
        return self.use().execute_script(script, *words)

    def find(self, css):
        return self.use().find_element(By.CSS_SELECTOR, css)

    def text(self, css):
        return self.run("return document.querySelector(arguments[0]).textContent", css)

    def visible(self, css):
        return self.run("return document.querySelector(arguments[0]).checkVisibility()", css)

    def wait(self, condition, what):
        wait_until(condition, 30, what)
        return self

    def wait_text(self, css, text):
        return self.wait(lambda: self.text(css) == text, f"{css} is {text!r}, now {self.text(css)!r}")

    def fill(self, css, text):
        field = self.find(css)
        field.clear()
        field.send_keys(text)
        return field

    def submit_login(self, name, password="123456"):
        self.fill("[name=name]", name)
        self.fill("[name=password]", password).send_keys(Keys.ENTER)
        return self

    def log_in(self, name):
        self.submit_login(name)
        return self.wait(lambda: self.visible("#chat"), f"{name} is in, or {self.text('#login-error')!r}")

    def join(self, room):
        self.fill("[name=room]", room).send_keys(Keys.ENTER)
        return self.wait_text("#talk-name", room)

    def message_user(self, number):
        self.fill("[name=uid]", str(number)).send_keys(Keys.ENTER)
        return self.wait_text("#talk-name", f"user {number}")

    def select(self, name):
        entry = [e for e in self.use().find_elements(By.CSS_SELECTOR, ".entry .name") if e.text == name]
        entry[0].click()
        return self.wait_text("#talk-name", name)

    def type(self, text):
        """As if pasted: the driver's keys know no emoji."""
        self.run("""const text = document.getElementById('text'); text.value = arguments[0];
                    text.dispatchEvent(new Event('input'))""", text)
        return self

    def say(self, text):
        self.type(text)
        self.find("#text").send_keys(Keys.ENTER)
        return self

    @property
    def messages(self):
        return [tuple(found) for found in self.run(MESSAGES)]

    @property
    def texts(self):
        return [text for _, _, text in self.messages]

    @property
    def entries(self):
        return self.run(ENTRIES)

    def wait_message(self, own, author, text):
        return self.wait(lambda: (own, author, text) in self.messages, f"{author}: {text!r}")

    def wait_unread(self, name, count):
        return self.wait(lambda: self.entries.get(name) == count, f"{count} unread of {name}")

    def complaints(self):
        """What the browser itself has to say, but that a connection failed."""
        self.use()
        return [line["message"] for line in self.driver.get_log("browser")
                if line["level"] == "SEVERE" and "WebSocket connection to" not in line["message"]]


@pytest.fixture
def kind():
    return "sqlite"


@pytest.fixture
def engine(make_engine):
    return make_engine(CHAT_ENTRY, mode="dev", files=FILES)


@pytest.fixture
def open_tab(browsers, engine):
    """Opens tabs in the first or second browser; all are closed at the end, without a complaint."""
    before = [driver.current_window_handle for driver in browsers]
    tabs = []

    def open_one(browser=0, kind="tab"):
        tabs.append(Tab(browsers[browser], engine, kind))
        return tabs[-1]

    yield open_one
    found = []
    for tab in tabs:
        try:
            found += tab.complaints()
        finally:
            tab.driver.close()
            tab.driver.switch_to.window(before[browsers.index(tab.driver)])
    assert found == []


@pytest.fixture
def pair(open_tab, run_chat, engine):
    """user1 and user2, each in a browser of their own."""
    run_chat(engine)
    return open_tab(0).log_in("user1"), open_tab(1).log_in("user2")


def test_rooms_direct_messages_and_everyone(pair):
    one, two = pair
    one.join("room_101").say("hello,world!").wait_message(True, "you", "hello,world!")
    two.join("room_101").say("hi").wait_message(True, "you", "hi")
    one.wait_message(False, "user 2", "hi")
    assert two.texts == ["hi"]

    one.find(".message .author button").click()
    one.wait_text("#talk-name", "user 2")
    one.say("only for you").wait_message(True, "you", "only for you")
    two.wait_unread("user 1", 1).select("user 1").wait_message(False, "user 1", "only for you")
    two.wait_unread("user 1", 0).say("thanks").wait_message(True, "you", "thanks")
    one.wait_message(False, "user 2", "thanks")
    assert one.texts == two.texts == ["only for you", "thanks"]

    two.select(EVERYONE).say("to all").wait_message(True, "you", "to all")
    one.wait_unread(EVERYONE, 1).select(EVERYONE).wait_message(False, "user 2", "to all")
    assert one.select("room_101").texts == ["hello,world!", "hi"]
    assert one.run("return [...document.querySelectorAll('#log time')].every(t => Date.now() - Date.parse(t.dateTime) < 60000)")


def test_messages_arrive_as_they_were_typed(pair):
    one, two = pair
    for tab in pair:
        tab.join("room_101")
    texts = ['<img src=x onerror="document.title=1"><b>bold</b>', 'a "quote" and a \\backslash\\', "😀 你好 é",
             "two\nlines", "uid:7,message:not me", "{\"op\":\"auth\"}", "x" * 4000, " spaces  kept "]
    for text in texts:
        one.say(text).wait_message(True, "you", text)
    for text in texts:
        two.wait_message(False, "user 1", text)
    assert two.texts == texts
    assert two.run("return document.querySelectorAll('#log img, #log b').length") == 0
    assert two.run("const s = document.getElementById('scroller'); return s.scrollWidth - s.clientWidth") == 0
    one.say("   ").say("last").wait_message(True, "you", "last")
    assert one.texts == [*texts, "last"]


def test_keys(pair):
    one, _ = pair
    focused = "return document.activeElement.id || document.activeElement.name"
    field = one.find("#text")
    assert one.run(focused) == "text"
    field.send_keys("first", Keys.SHIFT, Keys.ENTER, Keys.NULL, "second", Keys.ENTER)
    one.wait_message(True, "you", "first\nsecond")
    assert field.get_property("value") == ""
    assert one.run(focused) == "text"
    one.find("#logout").click()
    one.wait(lambda: one.run(focused) == "password", "the focus where the user goes on")


RECORD = """
    const send = WebSocket.prototype.send;
    window.sent = [];
    WebSocket.prototype.send = function (text) { window.sent.push(text); send.call(this, text); };"""


def test_unread_leave_and_join_again(pair):
    one, two = pair
    for room in ("room_101", "room_102"):
        one.join(room)
    two.join("room_101").say("a").say("b").wait_message(True, "you", "b")
    one.wait_unread("room_101", 2)
    assert one.use().title == "(2) room_102 – Chat"
    one.select("room_101").wait_unread("room_101", 0)
    assert one.texts == ["a", "b"] and one.use().title == "room_101 – Chat"
    two.say("read at once").wait_message(True, "you", "read at once")
    one.wait_message(False, "user 2", "read at once")
    assert set(one.entries.values()) == {0}
    one.run(RECORD)
    one.find("#leave").click()
    one.wait_text("#talk-name", EVERYONE)
    assert one.run("return window.sent") == ['{"op":"unsubscribe","args":["room_101"]}']
    assert set(one.entries) == {EVERYONE, "room_102"}
    two.say("c").wait_message(True, "you", "c")
    two.select(EVERYONE).say("d").wait_message(True, "you", "d")
    one.wait_message(False, "user 2", "d")
    assert "room_101" not in one.entries
    assert one.join("room_101").texts == []


def test_what_is_no_room_and_no_user(pair):
    one, _ = pair
    for name in ("user_2", "broadcast", "hello_1"):
        one.fill("[name=room]", name).send_keys(Keys.ENTER)
        one.wait(lambda: name in one.text("#side-error"), name)
    for number in ("x", "0", "-1", "1.5"):
        one.fill("[name=uid]", number).send_keys(Keys.ENTER)
        one.wait_text("#side-error", "A user is a number, such as 2.")
    assert list(one.entries) == [EVERYONE]


def test_wrong_password_and_no_server(open_tab, run_chat, engine):
    run_chat(engine)
    tab = open_tab()
    tab.submit_login("user1", "wrong").wait_text("#login-error", "Invalid name or password")
    assert tab.visible("#login") and not tab.visible("#chat")
    tab.log_in("user1").wait_text("#my-name", "user1")
    assert "123456" not in tab.run("return JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])")
    tab.find("#logout").click()
    tab.wait(lambda: tab.visible("#login"), "logged out")
    tab.run("document.getElementById('server-details').open = true")
    tab.fill("[name=server]", "ws://127.0.0.1:1/chat")
    tab.submit_login("user1").wait(lambda: "Cannot reach ws://127.0.0.1:1/chat" in tab.text("#login-error"), "an error")


def test_tabs_are_users_of_their_own(pair, open_tab):
    one, two = pair
    other = open_tab(0).log_in("user2")
    for tab in (one, two, other):
        tab.join("room_101")
    other.say("from the same browser").wait_message(True, "you", "from the same browser")
    one.wait_message(False, "user 2", "from the same browser")
    two.wait_message(True, "you", "from the same browser")
    other.find("#logout").click()
    one.say("still here").wait_message(True, "you", "still here")
    two.wait_message(False, "user 1", "still here")


def test_a_reload_keeps_the_rooms(pair):
    one, _ = pair
    one.join("room_101").load()
    assert one.find("[name=name]").get_property("value") == "user1"
    assert one.find("[name=password]").get_property("value") == ""
    one.log_in("user1").wait(lambda: "room_101" in one.entries, "the room")


def test_engine_restarts(pair, engine):
    for tab in pair:
        tab.join("room_101")
    one, two = pair
    one.say("before").wait_message(True, "you", "before")
    engine.stop()
    for tab in pair:
        tab.wait(lambda: tab.visible("#retry") and "Reconnecting in" in tab.text("#banner-wait"), "the pause")
    one.type("unsent")
    assert not one.find("#send").is_enabled()
    engine.start()
    one.run("document.getElementById('retry').click()")
    for tab in pair:
        tab.wait(lambda: not tab.visible("#banner"), "connected again").wait_text("#state-text", "Connected")
    assert one.find("#text").get_property("value") == "unsent"
    one.find("#send").click()
    two.wait_message(False, "user 1", "unsent").say("after").wait_message(True, "you", "after")
    one.wait_message(False, "user 2", "after")
    two.select(EVERYONE)
    one.message_user(2).say("direct")
    two.wait_unread("user 1", 1)
    assert one.select("room_101").texts == ["before", "unsent", "after"]


def test_scrolling_follows_only_at_the_end(pair):
    one, two = pair
    gap = "const s = document.getElementById('scroller'); return s.scrollHeight - s.scrollTop - s.clientHeight"
    for i in range(8):
        two.say(f"{i}\n" * 12)
    one.wait(lambda: len(one.texts) == 8, "eight messages")
    assert one.run(gap) < 2
    one.run("document.getElementById('scroller').scrollTop = 0")
    one.wait(lambda: one.run(gap) > 100, "scrolled")
    two.say("below")
    one.wait(lambda: one.visible("#newer"), "the button for new messages")
    assert one.run("return document.getElementById('scroller').scrollTop") == 0
    one.find("#newer").click()
    one.wait(lambda: one.run(gap) < 2 and not one.visible("#newer"), "the end")


def test_a_conversation_is_bounded(pair):
    one, _ = pair
    assert one.run("""
        const done = arguments[0];
        return import('./conversations.js').then(({ Conversations, KEPT }) => {
            const talks = new Conversations();
            talks.me = 1;
            talks.say(talks.shown, 1, 'own', false);
            for (let i = 0; i < KEPT + 10; i++) talks.say(talks.shown, 5, `${i}`, false);
            return [talks.shown.messages.length, talks.shown.messages[0].text, talks.unread];
        })""", None) == [1000, "10", 1010]


def test_phone(pair):
    one, two = pair
    one.use().execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                              {"width": 375, "height": 700, "deviceScaleFactor": 2, "mobile": True})
    try:
        one.wait(lambda: one.visible("#back") and not one.visible(".side"), "one thing at a time")
        one.find("#back").click()
        one.wait(lambda: one.visible(".side") and not one.visible("#text"), "the list")
        two.say("psst").wait_message(True, "you", "psst")
        one.wait_unread(EVERYONE, 1)
        one.select(EVERYONE).wait_message(False, "user 2", "psst").wait_unread(EVERYONE, 0)
        assert one.run("return document.documentElement.scrollWidth") == 375
    finally:
        one.use().execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# Stands in for the chat: answers requests to `op` itself, with an error.
REFUSE = """
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (text) {
        if (JSON.parse(text).op !== arguments_op) { send.call(this, text); return; }
        setTimeout(() => this.onmessage({ data: JSON.stringify({ op: arguments_op, error: 'Too busy, try again' }) }));
    };
    window.obey = () => { WebSocket.prototype.send = send; };"""


def refuse(tab, op):
    tab.run(REFUSE.replace("arguments_op", f"'{op}'"))


def test_errors_of_the_chat_are_shown(pair, open_tab):
    one, two = pair
    tab = open_tab()
    refuse(tab, "auth")
    tab.submit_login("user1").wait_text("#login-error", "Too busy, try again")
    tab.run("window.obey()")
    tab.log_in("user1")

    refuse(one, "sendbroadcast")
    one.say("once more").wait_text("#talk-error", "Too busy, try again")
    assert one.texts == [] and one.find("#text").get_property("value") == "once more"
    one.run("window.obey()")
    one.find("#send").click()
    one.wait_message(True, "you", "once more").wait_text("#talk-error", "")
    refuse(one, "subscribe")
    one.fill("[name=room]", "room_101").send_keys(Keys.ENTER)
    one.wait_text("#side-error", "Too busy, try again")
    assert list(one.entries) == [EVERYONE]


# Plays one attempt after the other to a Connection, without its pauses: returns the phases, and the pauses.
ATTEMPTS = """
    const attempts = arguments[0], phases = [], pauses = [];
    let attempt, socket;
    window.WebSocket = class {
        constructor() {
            socket = this;
            attempt = attempts.shift();
            setTimeout(() => attempt === 'unreachable' ? this.onclose() : this.onopen());
        }
        close() {}
    };
    return import('./connection.js').then(({ Connection, Final, Refused }) => new Promise((done) => {
        const connection = new Connection('ws://here', {
            prepare: async () => {
                if (attempt === 'wrong password') throw new Final(attempt);
                if (attempt === 'busy') throw new Refused(attempt);
                setTimeout(() => socket.onclose());
            },
            onState: ({ phase, until }) => {
                phases.push(phase);
                if (phase === 'waiting') {
                    pauses.push(until - Date.now());
                    setTimeout(() => connection.retry());
                }
                if (phase === 'closed') done([phases, pauses]);
            },
        });
        connection.open();
    }));"""


def test_pauses_between_attempts(open_tab):
    attempts = ["works and breaks", *["unreachable"] * 7, "busy", "works and breaks", "wrong password"]
    phases, pauses = open_tab().run(ATTEMPTS, attempts)
    again = ["waiting", "connecting"]
    assert phases == ["connecting", "online", *again * 9, "online", *again, "closed"]
    for pause, expected in zip(pauses, [1, 2, 4, 8, 16, 30, 30, 30, 30, 1], strict=True):
        assert expected * 799 <= pause <= expected * 1201, pauses


@pytest.mark.parametrize("attempt", ["unreachable", "busy", "wrong password"])
def test_a_first_attempt_that_fails_is_the_last(open_tab, attempt):
    assert open_tab().run(ATTEMPTS, [attempt]) == [["connecting", "closed"], []]
