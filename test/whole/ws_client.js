// A client on the npm package `ws`: ws_client.js PORT MODES SIZES. For each mode (options of permessage-deflate)
// it opens a connection, sends a text and a binary message of each size twice, and holds the echoes against them.
// One line of JSON for each mode: the extensions that were agreed on, and how many echoes were right.
'use strict';
const WebSocket = require('ws');
const crypto = require('crypto');

const [port, modes, sizes] = process.argv.slice(2).map((word) => JSON.parse(word));
const words = 'the quick brown fox jumps over the lazy dog; '.repeat(30);

function messages() {
  const found = [];
  for (const size of sizes) {
    const text = words.repeat(Math.ceil(size / words.length)).slice(0, size);
    found.push(text, crypto.randomBytes(size), text, Buffer.from(text));
  }
  return found;
}

function play(mode) {
  return new Promise((resolve, reject) => {
    const sent = messages();
    const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`, { perMessageDeflate: mode });
    let right = 0;
    socket.on('open', () => sent.forEach((message) => socket.send(message)));
    socket.on('message', (data, binary) => {
      const want = sent[right];
      if (binary !== (typeof want !== 'string') || Buffer.compare(data, Buffer.from(want)) !== 0)
        reject(new Error(`message ${right} of ${JSON.stringify(mode)} came back otherwise`));
      right += 1;
      if (right === sent.length) socket.close(1000);
    });
    socket.on('close', (code) => resolve({ extensions: socket.extensions, right, code }));
    socket.on('error', reject);
  });
}

async function main() {
  for (const mode of modes) console.log(JSON.stringify(await play(mode)));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
