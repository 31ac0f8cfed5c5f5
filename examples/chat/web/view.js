/* The page: shows what it is told and says what the user did. Whatever users have written is put in
 * as text, never as HTML. */

import { EVERYONE, KEPT } from "./conversations.js";

const GROUP = 3 * 60 * 1000; // messages of one author within this time are drawn together
const NEAR_END = 48; // pixels; who is that close to the end wants to see what comes

const $ = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const narrow = matchMedia("(max-width: 719px)");

function show(element, visible) {
  element.hidden = !visible;
}

function clone(id) {
  return $(id).content.firstElementChild.cloneNode(true);
}

/** Users have numbers only; neighbours get colours that are far apart. */
function paintAvatar(element, uid) {
  element.textContent = uid;
  element.style.setProperty("--hue", Math.round(uid * 137.5 + 80) % 360);
}

function showBadge(badge, count) {
  show(badge, count > 0);
  badge.textContent = count > 99 ? "99+" : count;
  const words = document.createElement("span");
  words.className = "aside";
  words.textContent = " unread";
  badge.append(words);
}

export class View {
  #on;
  #talks = null;
  #opened = null; // the conversation that the page shows
  #stuck = true; // the end of the messages is in view, and is to stay there
  #countdown = 0;

  /** `on`: login, logout, select, join, person, leave, send, retry, read: what the user wants. */
  constructor(on) {
    this.#on = on;
    this.#listenToLogin();
    this.#listenToSide();
    this.#listenToTalk();
  }

  // ---- login ----

  #listenToLogin() {
    $("login-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const { name, password, server } = event.target.elements;
      this.showLoginError("");
      this.#on.login({ name: name.value, password: password.value, server: server.value.trim() });
    });
    // A field that cannot be seen cannot be focused, and the form would refuse without a word.
    $("login-form").elements.server.addEventListener("invalid", () => ($("server-details").open = true));
  }

  showLogin({ name, server }) {
    const fields = $("login-form").elements;
    fields.name.value = name;
    fields.server.value = server;
    this.#showPart("login");
    this.#talks = null;
    this.setLoginBusy(false);
    document.title = "Chat";
    const first = name ? fields.password : fields.name;
    first.focus();
    first.select();
  }

  showLoginError(text) {
    $("login-error").textContent = text;
  }

  openServerField() {
    $("server-details").open = true;
  }

  setLoginBusy(busy) {
    $("login-button").disabled = busy;
    $("login-button").textContent = busy ? "Logging in…" : "Log in";
  }

  // ---- the chat's frame ----

  /** Shows the chat, or, when it is shown already, what has changed in it. */
  enter(talks, name) {
    if (this.#talks === talks) {
      if (this.#opened === talks.shown) this.refreshList();
      else this.refresh();
      return;
    }
    this.#talks = talks;
    $("login-form").elements.password.value = "";
    $("my-name").textContent = name;
    paintAvatar($("my-avatar"), talks.me);
    $("my-avatar").title = `You are user ${talks.me}`;
    this.#showPart("chat");
    this.#showPane("talk");
    this.refresh();
    this.#focusText();
  }

  #showPart(part) {
    show($("login"), part === "login");
    show($("chat"), part === "chat");
  }

  /** Where there is room for one thing only: the list, or the conversation. */
  #showPane(pane) {
    $("chat").dataset.pane = pane;
    this.#on.read();
  }

  /** The user sees the conversation that is open. */
  get reading() {
    return !document.hidden && !(narrow.matches && $("chat").dataset.pane === "list");
  }

  showState({ phase, until }) {
    const texts = { connecting: "Connecting…", online: "Connected", waiting: "Not connected", closed: "Not connected" };
    $("state-text").textContent = texts[phase];
    $("state-dot").dataset.phase = phase;
    $("send").disabled = phase !== "online";
    show($("banner"), phase !== "online");
    show($("retry"), phase === "waiting");
    // The seconds are no part of what is read aloud.
    $("banner-text").textContent = phase === "waiting" ? "Connection lost." : phase === "online" ? "" : "Connecting…";
    clearInterval(this.#countdown);
    const tell = () => {
      const seconds = Math.max(1, Math.ceil((until - Date.now()) / 1000));
      $("banner-wait").textContent = phase === "waiting" ? `Reconnecting in ${seconds} s` : "";
    };
    tell();
    if (phase === "waiting") this.#countdown = setInterval(tell, 250);
  }

  // ---- the list ----

  #listenToSide() {
    $("logout").addEventListener("click", () => this.#on.logout());
    $("retry").addEventListener("click", () => this.#on.retry());
    this.#listenToMini("join-form", "room", (value) => this.#on.join(value));
    this.#listenToMini("person-form", "uid", (value) => this.#on.person(value));
  }

  #listenToMini(id, field, act) {
    $(id).addEventListener("submit", async (event) => {
      event.preventDefault();
      const input = event.target.elements[field];
      const fault = await act(input.value.trim());
      $("side-error").textContent = fault;
      if (fault === "") input.value = "";
      else input.focus();
    });
  }

  title(one) {
    if (one.kind === "everyone") return "Everyone";
    return one.kind === "room" ? one.id : this.#person(one.id);
  }

  #person(uid) {
    return uid === this.#talks.me ? "you" : `user ${uid}`;
  }

  #entry(one) {
    const item = clone("entry-template");
    const button = item.firstElementChild;
    const sign = button.querySelector(".sign");
    if (one.kind === "person") {
      sign.classList.add("avatar");
      paintAvatar(sign, one.id);
    } else {
      sign.textContent = one.kind === "room" ? "#" : "∗";
    }
    button.querySelector(".name").textContent = this.title(one);
    button.dataset.key = one.key;
    if (one.key === this.#talks.current) button.setAttribute("aria-current", "true");
    showBadge(button.querySelector(".badge"), one.unread);
    button.addEventListener("click", () => this.#on.select(one.key));
    return item;
  }

  /** The list, the counts, and the window's title. */
  refreshList() {
    const focused = document.activeElement?.dataset?.key;
    for (const kind of ["everyone", "room", "person"])
      $(`list-${kind}`).replaceChildren(...this.#talks.ofKind(kind).map((one) => this.#entry(one)));
    if (focused) document.querySelector(`.entry[data-key="${CSS.escape(focused)}"]`)?.focus();
    const { unread } = this.#talks;
    showBadge($("back-unread"), unread);
    document.title = `${unread ? `(${unread}) ` : ""}${this.title(this.#talks.shown)} – Chat`;
  }

  // ---- the conversation ----

  #listenToTalk() {
    const scroller = $("scroller");
    scroller.addEventListener("scroll", () => {
      this.#stuck = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END;
      if (this.#stuck) show($("newer"), false);
    });
    new ResizeObserver(() => this.#stuck && this.#toEnd()).observe(scroller);
    $("newer").addEventListener("click", () => {
      this.#toEnd();
      this.#focusText();
    });
    $("back").addEventListener("click", () => {
      this.#showPane("list");
      document.querySelector(".entry[aria-current]")?.focus();
    });
    $("leave").addEventListener("click", () => this.#on.leave(this.#talks.current));
    document.addEventListener("visibilitychange", () => this.#on.read());
    narrow.addEventListener("change", () => this.#on.read());
    this.#listenToText();
  }

  #listenToText() {
    const text = $("text");
    text.addEventListener("input", () => {
      this.#talks.shown.draft = text.value;
      this.#fitText();
    });
    text.addEventListener("keydown", (event) => {
      // While an input method composes, Enter takes its suggestion.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!$("send").disabled) $("send-form").requestSubmit();
    });
    $("send-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (text.value.trim() !== "") this.#on.send(text.value);
    });
  }

  #fitText() {
    const text = $("text");
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
  }

  setText(value) {
    $("text").value = value;
    this.#fitText();
  }

  /** Not with a finger: the keyboard on the screen would come up. */
  #focusText() {
    if (!matchMedia("(pointer: coarse)").matches) $("text").focus();
  }

  showError(text) {
    $("talk-error").textContent = text;
  }

  /** Shows the current conversation from scratch. */
  open() {
    this.#showPane("talk");
    this.showError("");
    $("side-error").textContent = "";
    this.refresh();
    this.#focusText();
  }

  refresh() {
    const one = this.#talks.shown;
    this.#opened = one;
    const title = this.title(one);
    const addressees = { everyone: "everyone", room: `#${title}`, person: title };
    const notes = {
      everyone: "Read by all who are logged in",
      room: "Read by all who have joined",
      person: one.id === this.#talks.me ? "Read by you only" : `Read by ${title} and you only`,
    };
    $("talk-name").textContent = title;
    $("talk-note").textContent = notes[one.kind];
    show($("leave"), one.key !== EVERYONE);
    $("leave").textContent = one.kind === "room" ? "Leave" : "Close";
    $("text").placeholder = `Message ${addressees[one.kind]}`;
    $("text").setAttribute("aria-label", $("text").placeholder);
    this.setText(one.draft);
    this.#refreshLog(one);
    this.refreshList();
  }

  /** In a new element, as a change of the old one would be read aloud message by message. */
  #refreshLog(one) {
    const log = $("log").cloneNode(false);
    log.append(...one.messages.map((message, i) => this.#message(message, one.messages[i - 1])));
    if (one.messages.length === 0) log.append(this.#emptyNote());
    $("log").replaceWith(log);
    this.#toEnd();
  }

  #emptyNote() {
    const note = document.createElement("p");
    note.className = "empty";
    note.textContent = "Nothing here yet. You see what is said while you are here; earlier messages are not kept.";
    return note;
  }

  #message(message, before) {
    const element = clone("message-template");
    const follows = before && before.author === message.author && message.time - before.time < GROUP;
    element.classList.toggle("own", message.own);
    element.classList.toggle("follows", Boolean(follows));
    paintAvatar(element.querySelector(".avatar"), message.author);
    element.querySelector(".author").append(this.#author(message));
    element.querySelector(".text").textContent = message.text;
    const time = element.querySelector("time");
    time.dateTime = new Date(message.time).toISOString();
    time.textContent = clock.format(message.time);
    time.title = calendar.format(message.time);
    return element;
  }

  #author({ author, own }) {
    const name = document.createElement(own ? "span" : "button");
    name.textContent = this.#person(author);
    if (own) return name;
    name.type = "button";
    name.title = `Message user ${author}`;
    name.addEventListener("click", () => this.#on.person(String(author)));
    return name;
  }

  /** A message has been added to the conversation that is shown. */
  append(one, message) {
    const log = $("log");
    log.querySelector(".empty")?.remove();
    log.append(this.#message(message, one.messages.at(-2)));
    if (log.childElementCount > KEPT) log.firstElementChild.remove();
    if (this.#stuck || message.own) this.#toEnd();
    else show($("newer"), true);
  }

  #toEnd() {
    this.#stuck = true;
    show($("newer"), false);
    $("scroller").scrollTop = $("scroller").scrollHeight;
  }
}
