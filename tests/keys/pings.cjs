// TLS connections that begin HTTP/2 and send PINGs, each with a number of its own: pings.cjs PORT N VERSION CIPHERS.
const tls = require('node:tls');

const [port, n, version, ciphers] = process.argv.slice(2);
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1');
for (let number = 1; number <= Number(n); number += 1) {
  const ping = Buffer.from([0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  ping.writeUInt32BE(number, 13);
  const options = { port: Number(port), host: '127.0.0.1', servername: 'localhost', ciphers };
  const socket = tls.connect({
    ...options,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
    minVersion: version,
    maxVersion: version,
  });
  socket.on('secureConnect', () => {
    socket.write(preface);
    setInterval(() => socket.write(ping), 100);
  });
  socket.on('error', () => {});
  socket.resume();
}
