// TLS connections that begin HTTP/2 and send PINGs, each with a number of its own: pings.cjs PORT N VERSION CIPHERS
// [COUNT]. With COUNT each sends so many, as fast as it goes, and counts them in what stands before its number.
const tls = require('node:tls');

const [port, n, version, ciphers, count] = process.argv.slice(2);
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
    if (!count) {
      setInterval(() => socket.write(ping), 100);
      return;
    }
    let sent = 0;
    // One record each: the next is written when the last has gone.
    const next = () => {
      if (sent < Number(count)) {
        sent += 1;
        const counted = Buffer.from(ping);
        counted.writeUInt32BE(sent, 9);
        socket.write(counted, () => setImmediate(next));
      }
    };
    next();
  });
  socket.on('error', () => {});
  socket.resume();
}
