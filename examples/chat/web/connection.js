/* One WebSocket to the chat for as long as the user stays: it opens, is prepared (log in, join), and
 * when it breaks all of that begins again after a pause. Knows nothing of rooms or of the page.
 *
 * The chat answers requests in the order in which they came, and names in each answer only the
 * operation, so answers are told apart by that order. */

const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 30000;
const PATIENCE = 10000; // for the connection to open, and for each answer

/** What the chat itself answered instead of "success". */
export class Refused extends Error {}

/** Trying again would not help. */
export class Final extends Error {}

export class Connection {
  #url;
  #handlers;
  #socket = null;
  #requests = []; // not answered yet, oldest first
  #waiters = new Map(); // channel → what to do with its next event
  #timer = 0; // of the pause, or of the connecting
  #failures = 0;
  #worked = false; // was online once: from then on it never gives up
  #phase = "closed";

  /** `handlers`:
   * `prepare(ask, nextEvent)` runs on every new socket; the connection is online when it is done.
   *   When it throws Final the connection is closed, else it is tried again.
   * `onState({phase, error, until})`: phase is "connecting", "online", "waiting" (until that time, for
   *   the next attempt) or "closed" (for good, because of `error`, or without one because of close()).
   * `onEvent(channel, text)`: a message to a channel.
   * `onGarbage()`: something came that is not of this protocol. */
  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
  }

  get online() {
    return this.#phase === "online";
  }

  open() {
    clearTimeout(this.#timer);
    this.#enter("connecting");
    try {
      this.#socket = new WebSocket(this.#url);
    } catch {
      this.#enter("closed", { error: new Error(`“${this.#url}” is not the address of a WebSocket.`) });
      return;
    }
    const socket = this.#socket;
    const unreachable = new Error(`Cannot reach ${this.#url}. Is the engine running?`);
    this.#timer = setTimeout(() => this.#drop(unreachable), PATIENCE);
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#prepare(socket);
    };
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = () => this.#drop(opened ? new Error("The connection was lost.") : unreachable);
  }

  /** Ends the pause before the next attempt. */
  retry() {
    if (this.#phase === "waiting") this.open();
  }

  /** For good. */
  close() {
    clearTimeout(this.#timer);
    this.#abandon(new Error("You have logged out."));
    this.#enter("closed");
  }

  /** Resolves when the chat has done it, rejects with what the chat, or the connection, says. */
  request(op, ...args) {
    if (!this.online) return Promise.reject(new Error("Not connected right now."));
    return this.#ask(op, ...args);
  }

  #enter(phase, more = {}) {
    this.#phase = phase;
    this.#handlers.onState({ phase, ...more });
  }

  async #prepare(socket) {
    clearTimeout(this.#timer);
    try {
      await this.#handlers.prepare((...request) => this.#ask(...request), (channel) => this.#nextEvent(channel));
    } catch (error) {
      if (this.#socket === socket) this.#drop(error);
      return;
    }
    if (this.#socket !== socket) return; // broken meanwhile; another attempt is on its way
    this.#failures = 0;
    this.#worked = true;
    this.#enter("online");
  }

  #ask(op, ...args) {
    return new Promise((resolve, reject) => {
      if (this.#socket?.readyState !== WebSocket.OPEN) {
        reject(new Error("Not connected right now."));
        return;
      }
      // A late answer would be taken for that of a later request, so the connection goes with it.
      const timer = setTimeout(
        () => this.#drop(new Error("No answer. Is the chat program running?")), PATIENCE);
      this.#requests.push({ op, timer, resolve, reject });
      this.#socket.send(JSON.stringify({ op, args }));
    });
  }

  #nextEvent(channel) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#drop(new Error("A message did not come back.")), PATIENCE);
      this.#waiters.set(channel, { timer, resolve, reject });
    });
  }

  #receive(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      message = null;
    }
    if (message?.event === "subscribe" && typeof message.data === "string") this.#take(message);
    else if (message && (message.success === true || "error" in message)) this.#answer(message);
    else this.#handlers.onGarbage();
  }

  #take({ channel, data }) {
    const waiter = this.#waiters.get(channel);
    if (!waiter) {
      this.#handlers.onEvent(channel, data);
      return;
    }
    this.#waiters.delete(channel);
    clearTimeout(waiter.timer);
    waiter.resolve(data);
  }

  /** An answer without `op` ("Json format error") is that of the oldest request. */
  #answer({ op, error }) {
    const at = op === undefined ? 0 : this.#requests.findIndex((request) => request.op === op);
    const [request] = at < 0 ? [] : this.#requests.splice(at, 1);
    if (!request) return;
    clearTimeout(request.timer);
    if (error === undefined) request.resolve();
    else request.reject(new Refused(String(error)));
  }

  /** The socket is of no more use; what happens next depends on why. */
  #drop(error) {
    if (!this.#socket) return;
    clearTimeout(this.#timer);
    this.#abandon(error);
    if (!this.#worked || error instanceof Final) this.#enter("closed", { error });
    else this.#pause(error);
  }

  #abandon(error) {
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    const waiting = [...this.#requests, ...this.#waiters.values()];
    this.#requests = [];
    this.#waiters.clear();
    for (const one of waiting) {
      clearTimeout(one.timer);
      one.reject(error);
    }
  }

  /** Pauses differ a little, so that the clients of an engine that restarts do not all come at once. */
  #pause(error) {
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#failures) * (0.8 + 0.4 * Math.random());
    this.#failures += 1;
    this.#timer = setTimeout(() => this.open(), pause);
    this.#enter("waiting", { error, until: Date.now() + pause });
  }
}
