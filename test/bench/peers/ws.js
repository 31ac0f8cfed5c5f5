// npm's ws. "sub [CHANNEL]" joins, "pub[ CHANNEL]:DATA" publishes, anything else comes back. node ws.js PORT
const { WebSocketServer } = require(process.env.NPM + '/node_modules/ws');
const channels = new Map();
const server = new WebSocketServer({ host: '127.0.0.1', port: +process.argv[2], perMessageDeflate: false, backlog: 4096 });

function join(name, client) {
  if (!channels.has(name)) channels.set(name, new Set());
  channels.get(name).add(client);
  client.on('close', () => channels.get(name).delete(client));
}

server.on('connection', (client) => {
  client.on('error', () => {});
  client.on('message', (data, binary) => {
    const head = data.toString('latin1', 0, 3);
    if (head === 'sub') {
      join(data.toString('latin1', 4) || 'ch', client);
      client.send('ok');
    } else if (head === 'pub') {
      const colon = data.indexOf(58);
      const name = data.toString('latin1', 4, colon) || 'ch';
      for (const member of channels.get(name) || []) member.send(data.subarray(colon + 1), { binary });
    } else {
      client.send(data, { binary });
    }
  });
});
