// What the Node peers share: arguments, the loop of calls, the lines that are printed. See ../README.md.
'use strict';

const readline = require('node:readline');

const NUMBERS = new Set(['calls', 'concurrency', 'request-bytes', 'response-bytes', 'messages', 'interval-us',
  'think-ms', 'deadline-ms', 'status-code', 'warm', 'max-connection-age-ms']);
const SWITCHES = new Set(['wait-go', 'busy', 'linger']);
const DEFAULTS = {
  target: '', mode: 'unary', calls: 1, concurrency: 1, 'request-bytes': 0, 'response-bytes': 0, messages: 1,
  'interval-us': 0, 'think-ms': 0, 'id-prefix': 'c', 'id-field': '', header: [], 'deadline-ms': 0, 'status-code': 9, warm: 0,
  'wait-go': false, busy: false, linger: false, listen: '127.0.0.1:0', 'max-connection-age-ms': 0,
};

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}

function parse(words) {
  const options = { ...DEFAULTS, header: [] };
  for (let i = 0; i < words.length; i++) {
    const name = words[i].replace(/^--/, '');
    if (!(name in options)) fail(`unknown argument ${words[i]}`);
    if (SWITCHES.has(name)) { options[name] = true; continue; }
    const value = words[++i];
    if (value === undefined) fail(`--${name} wants a value`);
    if (name === 'header') {
      const colon = value.indexOf(':');
      if (colon < 1) fail('--header wants NAME:VALUE');
      options.header.push([value.slice(0, colon), value.slice(colon + 1)]);
    } else {
      options[name] = NUMBERS.has(name) ? Number(value) : value;
    }
  }
  if (options.mode === 'deadline' && options['deadline-ms'] === 0) options['deadline-ms'] = 100;
  return options;
}

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/**
 * Makes the calls that `options` describe. `perform(id)` makes one and resolves to
 * `{code, message, bytes}`; it never rejects. `close` gives up the channel.
 */
async function runClient(options, perform, close) {
  const lines = readline.createInterface({ input: process.stdin });
  const closed = new Promise((done) => lines.once('close', done));
  let ok = 0;
  // Ids prefix-0 to prefix-(n-1), then null.
  const numbered = (prefix, n) => {
    let i = 0;
    return () => (i < n ? `${prefix}-${i++}` : null);
  };
  async function calls(next, think) {
    const worker = async () => {
      for (let id = next(); id !== null; id = next()) {
        const result = await perform(id);
        if (result.code === 0) ok++;
        say({ id, ...result });
        if (think > 0) await sleep(think);
      }
    };
    await Promise.all(Array.from({ length: options.concurrency }, worker));
  }
  const go = new Promise((done) => lines.once('line', done));
  const prefix = options['id-prefix'];
  await calls(numbered(`${prefix}-warm`, options.warm), 0);
  say({ ready: true });
  let next = numbered(prefix, options.calls);
  let warmed = options.warm;
  if (options.busy) {
    let gone = false;
    go.then(() => { gone = true; });
    const counted = next;
    next = () => (gone ? counted() : `${prefix}-warm-${warmed++}`);
  } else if (options['wait-go']) {
    const first = await Promise.race([go, closed.then(() => 'closed')]);
    if (first === 'closed') fail('stdin was closed before go');
  }
  await calls(next, options['think-ms']);
  say({ done: true, calls: options.calls + warmed, ok });
  if (options.linger) await closed;
  lines.close();
  process.stdin.destroy();
  await close();
}

/** Prints `ready`, and on SIGTERM how many calls of each method were handled. */
function announce(address, handled) {
  const end = () => {
    process.stdout.write(`${JSON.stringify({ handled })}\n`, () => process.exit(0));
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  process.stdout.write(`ready ${address}\n`);
}

module.exports = { announce, fail, parse, runClient, say, sleep };
