// A TLS server that sends back what it gets: echo.cjs PORT KEY CERTIFICATE.
const { readFileSync } = require('node:fs');
const tls = require('node:tls');

const [port, key, cert] = process.argv.slice(2);
const options = { key: readFileSync(key), cert: readFileSync(cert) };
const server = tls.createServer(options, (socket) => {
  socket.on('error', () => {});
  socket.pipe(socket);
});
server.on('tlsClientError', () => {});
server.listen(Number(port), '127.0.0.1');
