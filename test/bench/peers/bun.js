// Bun.serve, which has uWebSockets inside. "sub [CHANNEL]" joins, "pub[ CHANNEL]:DATA" publishes,
// anything else comes back. bun bun.js PORT; with REUSEPORT=1 several can share the port.
const server = Bun.serve({
  hostname: '127.0.0.1', port: +process.argv[2], reusePort: process.env.REUSEPORT === '1',
  fetch(request, server) {
    return server.upgrade(request) ? undefined : new Response('websocket only', { status: 426 });
  },
  websocket: {
    perMessageDeflate: false, idleTimeout: 0, sendPings: false, backpressureLimit: 64 << 20,
    message(ws, data) {
      const head = typeof data === 'string' ? data.slice(0, 3) : '';
      if (head === 'sub') {
        ws.subscribe(data.slice(4) || 'ch');
        ws.send('ok');
      } else if (head === 'pub') {
        const colon = data.indexOf(':');
        server.publish(data.slice(4, colon) || 'ch', data.slice(colon + 1));
      } else {
        ws.send(data);
      }
    },
  },
});
