// socket.io: events "e" (echo), "sub" (join the room), "pub" (emit to the room). Usage: node socketio.js PORT
const { Server } = require(process.env.NPM + '/node_modules/socket.io');
const http = require('http').createServer();
const io = new Server(http, { transports: ['websocket'], perMessageDeflate: false, serveClient: false, pingInterval: 25000 });
io.on('connection', (s) => {
  s.on('e', (d) => s.emit('e', d));
  s.on('sub', () => { s.join('ch'); s.emit('ok'); });
  s.on('pub', (d) => io.to('ch').emit('m', d));
});
http.listen({ host: '127.0.0.1', port: +process.argv[2], backlog: 4096 });
