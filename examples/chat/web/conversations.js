/* What the user takes part in, and what was said there. Neither sockets nor the page. */

export const KEPT = 1000; // messages of one conversation

export const EVERYONE = "everyone";
export const roomKey = (name) => `room:${name}`;
export const personKey = (uid) => `user:${uid}`;

/** What is wrong with a room's name, or "". The names of the chat's own channels would let a user
 * read along with others by mistake. */
export function roomFault(name) {
  if (name === "") return "A room needs a name.";
  if (name === "broadcast" || /^(user|hello)_/.test(name)) return `“${name}” is not a room: that name is taken by the chat itself.`;
  return "";
}

function conversation(key, kind, channel, id) {
  return { key, kind, channel, id, messages: [], unread: 0, draft: "" };
}

export class Conversations {
  #all = new Map();
  me = 0; // this user's number, once it is known
  current = EVERYONE;

  constructor() {
    this.#all.set(EVERYONE, conversation(EVERYONE, "everyone", "broadcast", ""));
  }

  get(key) {
    return this.#all.get(key);
  }

  get shown() {
    return this.#all.get(this.current);
  }

  ofKind(kind) {
    return [...this.#all.values()].filter((one) => one.kind === kind);
  }

  get rooms() {
    return this.ofKind("room").map((one) => one.id);
  }

  get unread() {
    return [...this.#all.values()].reduce((sum, one) => sum + one.unread, 0);
  }

  addRoom(name) {
    return this.#add(roomKey(name), "room", name, name);
  }

  addPerson(uid) {
    return this.#add(personKey(uid), "person", `user_${uid}`, uid);
  }

  #add(key, kind, channel, id) {
    if (!this.#all.has(key)) this.#all.set(key, conversation(key, kind, channel, id));
    return this.#all.get(key);
  }

  remove(key) {
    this.#all.delete(key);
    if (this.current === key) this.current = EVERYONE;
  }

  /** The conversation to which a message to `channel` belongs: one to this user's own channel is part
   * of the talk with its author. Undefined for a room that was left a moment ago. */
  of(channel, author) {
    if (channel === "broadcast") return this.#all.get(EVERYONE);
    if (channel === `user_${this.me}`) return this.addPerson(author);
    return this.#all.get(roomKey(channel));
  }

  /** Adds a message; `read`: the user is looking at it. Returns it. */
  say(one, author, text, read) {
    const message = { author, text, time: Date.now(), own: author === this.me };
    one.messages.push(message);
    if (one.messages.length > KEPT) one.messages.shift();
    if (!read && !message.own) one.unread += 1;
    return message;
  }
}

