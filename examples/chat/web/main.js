/* Ties the parts together: one login at a time, its connection, its conversations, the page. */

import { Connection, Final, Refused } from "./connection.js";
import { Conversations, roomFault, roomKey } from "./conversations.js";
import { parseMessage, signIn } from "./session.js";
import { View } from "./view.js";

const SENDING = { everyone: "sendbroadcast", room: "sendtoroom", person: "sendtouser" };

let connection = null;
let talks = new Conversations();
let user = null; // {name, password, server} while logged in; the password for when it reconnects

// ---- what a tab remembers ----

function remember(more) {
  try {
    sessionStorage.setItem("chat", JSON.stringify({ ...remembered(), ...more }));
  } catch {
    // Without storage a reload begins anew.
  }
}

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem("chat")) ?? {};
  } catch {
    return {};
  }
}

function loginDefaults() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const { name = "", server = `${scheme}://${location.hostname}:6790/chat` } = remembered();
  return { name, server: new URLSearchParams(location.search).get("server") ?? server };
}

// ---- logging in and out ----

function logIn(given) {
  user = given;
  talks = new Conversations();
  const { name, rooms = [] } = remembered();
  if (name === user.name) rooms.forEach((room) => talks.addRoom(room));
  remember({ name: user.name, server: user.server, rooms: talks.rooms });
  view.setLoginBusy(true);
  connection = new Connection(user.server, { prepare, onState, onEvent, onGarbage });
  connection.open();
}

async function prepare(ask, nextEvent) {
  talks.me = await signIn(ask, nextEvent, user.name, user.password);
  await Promise.all(talks.ofKind("room").map((room) => rejoin(ask, room)));
}

/** A room that the chat no longer lets us into is no reason to stay outside of all others. */
async function rejoin(ask, room) {
  try {
    await ask("subscribe", room.channel);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    talks.remove(room.key);
  }
}

function onState(state) {
  view.showState(state);
  if (state.phase === "online") {
    view.enter(talks, user.name);
  } else if (state.phase === "closed") {
    user = null;
    view.showLogin(loginDefaults());
    if (state.error) view.showLoginError(state.error.message);
    if (state.error && !(state.error instanceof Final)) view.openServerField();
  }
}

function logOut() {
  remember({ rooms: [] });
  connection.close();
}

// ---- messages ----

function onEvent(channel, data) {
  const message = parseMessage(data);
  const one = message && talks.of(channel, message.author);
  if (one) add(one, message.author, message.text);
}

function onGarbage() {
  view.showError("The server sent something that this page cannot read.");
}

function add(one, author, text) {
  const shown = one === talks.shown;
  const message = talks.say(one, author, text, shown && view.reading);
  if (shown) view.append(one, message);
  view.refreshList();
}

/** The text leaves the field at once, and comes back when it could not be sent. */
async function send(text) {
  const one = talks.shown;
  const { me } = talks;
  one.draft = "";
  view.setText("");
  view.showError("");
  try {
    await connection.request(SENDING[one.kind], ...(one.kind === "everyone" ? [] : [one.channel]), text);
  } catch (error) {
    one.draft ||= text;
    if (one === talks.shown) view.setText(one.draft);
    view.showError(error.message);
    return;
  }
  // What goes to another user's channel does not come back to us.
  if (one.kind === "person" && one.id !== me) add(one, me, text);
}

function read() {
  if (!user || !view.reading || talks.shown.unread === 0) return;
  talks.shown.unread = 0;
  view.refreshList();
}

// ---- conversations ----

function select(key) {
  talks.current = key;
  talks.shown.unread = 0;
  view.open();
}

/** These return what is wrong, or "". */

async function join(name) {
  const fault = roomFault(name);
  if (fault) return fault;
  if (!talks.get(roomKey(name))) {
    try {
      await connection.request("subscribe", name);
    } catch (error) {
      return error.message;
    }
  }
  select(talks.addRoom(name).key);
  remember({ rooms: talks.rooms });
  return "";
}

function person(number) {
  const uid = Number(number);
  if (!/^\d+$/.test(number) || uid === 0 || !Number.isSafeInteger(uid)) return "A user is a number, such as 2.";
  select(talks.addPerson(uid).key);
  return "";
}

async function leave(key) {
  const one = talks.get(key);
  try {
    // Not connected: then it is enough not to join again.
    if (one.kind === "room" && connection.online) await connection.request("unsubscribe", one.channel);
  } catch (error) {
    view.showError(error.message);
    return;
  }
  talks.remove(key);
  remember({ rooms: talks.rooms });
  select(talks.current);
}

// ---- start ----

const retry = () => connection?.retry();
const view = new View({ login: logIn, logout: logOut, select, join, person, leave, send, retry, read });
window.addEventListener("online", retry);
view.showLogin(loginDefaults());
