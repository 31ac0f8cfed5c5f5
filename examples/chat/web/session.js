/* Logging in, as the chat's protocol has it. */

import { Final, Refused } from "./connection.js";

const WRONG = "Invalid name or password"; // other refusals ("Too busy, try again") pass

function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Splits what the chat publishes: who said it (as verified by the chat), and what. Null when it is
 * something else. */
export function parseMessage(data) {
  const match = /^uid:(\d+),message:(.*)$/s.exec(data);
  return match && { author: Number(match[1]), text: match[2] };
}

/** Asks the chat which number it has given us: the answer to a login does not tell. A message to a
 * channel that nobody else can know comes back to us with our own number on it. */
async function askForOwnNumber(ask, nextEvent) {
  const channel = `hello_${randomName()}`;
  await ask("subscribe", channel);
  const [event] = await Promise.all([nextEvent(channel), ask("sendtoroom", channel, "who am I?")]);
  await ask("unsubscribe", channel);
  const message = parseMessage(event);
  if (!message) throw new Error("The chat does not say who we are.");
  return message.author;
}

async function authenticate(ask, name, password) {
  try {
    await ask("auth", name, password);
  } catch (error) {
    throw error instanceof Refused && error.message === WRONG ? new Final(error.message) : error;
  }
}

/** Logs in and listens to what is for this user, and for everyone. Returns the user's number. */
export async function signIn(ask, nextEvent, name, password) {
  await authenticate(ask, name, password);
  const me = await askForOwnNumber(ask, nextEvent);
  await ask("subscribe", `user_${me}`, "broadcast");
  return me;
}
