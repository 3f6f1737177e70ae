//! Keys of TLS and the secrets that they come of in the tracer's own memory, seen from outside: while a connection is there
//! they stand in locked pages that are not dumped; when it has ended they stand nowhere, and neither in what the tracer says.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use h2trace_core::tls::schedules;
use tempfile::TempDir;
use tracer_tests::identity::Identity;
use tracer_tests::process::Process;
use tracer_tests::skip::{self, Privileges, Program};
use tracer_tests::tracer::{Tracer, binary};
use tracer_tests::{eventually, free_port, require};

use crate::{RUN, SETTLE};

/// Connections of a process to itself, one for each suite; they talk until they are told to end: PORT KEY CERTIFICATE.
const TALK: &str = "
const http2 = require('http2'), fs = require('fs');
const [port, key, cert] = process.argv.slice(1);
const server = http2.createSecureServer({ key: fs.readFileSync(key), cert: fs.readFileSync(cert) });
server.on('stream', (stream) => { stream.respond({ ':status': 200 }); stream.end('x'.repeat(3000)); });
const suites = [
  ['TLSv1.3', 'TLS_AES_128_GCM_SHA256'], ['TLSv1.3', 'TLS_AES_256_GCM_SHA384'],
  ['TLSv1.3', 'TLS_CHACHA20_POLY1305_SHA256'],
  ['TLSv1.2', 'ECDHE-ECDSA-AES128-GCM-SHA256'], ['TLSv1.2', 'ECDHE-ECDSA-AES256-GCM-SHA384'],
];
let talks = true;
const line = () => new Promise((done) => process.stdin.once('data', done));
async function talk([version, ciphers]) {
  const client = http2.connect('https://localhost:' + port, {
    rejectUnauthorized: false, minVersion: version, maxVersion: version, ciphers,
  });
  while (talks) {
    const stream = client.request({ ':path': '/' });
    stream.resume();
    await new Promise((done) => stream.on('close', done));
    await new Promise((done) => setTimeout(done, 100));
  }
  await new Promise((done) => client.close(done));
}
server.listen(Number(port), '127.0.0.1', async () => {
  console.log('there');
  await line();
  console.log('talking');
  line().then(() => { talks = false; });
  await Promise.all(suites.map(talk));
  console.log('ended');
  setInterval(() => {}, 1000);
});
";

/// How many connections that are, and those of them whose keys have a schedule.
pub(crate) const CONNECTIONS: usize = 5;
pub(crate) const FINDABLE: usize = 4;

/// Talks in TLS, with its secrets in the key log.
pub(crate) struct Talker {
    process: Process,
    /// Its key log.
    pub(crate) keys: std::path::PathBuf,
    folder: TempDir,
}

impl Talker {
    pub(crate) fn held() -> Talker {
        let folder = TempDir::new().expect("cannot make a folder");
        let identity = Identity::new(folder.path());
        let keys = folder.path().join("keys");
        std::fs::write(&keys, "").expect("cannot make the key log");
        let mut command = Command::new("node");
        command.arg(format!("--tls-keylog={}", keys.display()));
        command.args(["-e", TALK]).arg(free_port().to_string());
        command.args(identity.files());
        let process = Process::start_held("node", &command);
        Talker {
            process,
            keys,
            folder,
        }
    }

    pub(crate) fn go(&mut self) {
        self.is_there();
        self.begin();
    }

    /// It runs, and waits for [`Talker::begin`].
    fn is_there(&mut self) {
        self.process.write_line("go");
        self.said("there");
    }

    fn begin(&mut self) {
        self.process.write_line("begin");
        self.said("talking");
    }

    fn said(&self, word: &str) {
        let is_it = |line: &str| (line == word).then_some(());
        self.process.wait_for_line(0, RUN, is_it);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn end(&mut self) {
        self.process.write_line("end");
        self.said("ended");
    }

    /// Round keys of every cipher of AES that its memory has, and all keys that its key log's secrets lead to.
    fn keys(&self) -> Needles {
        let mut needles = Needles::default();
        for mapping in Mapping::of(self.process.pid()) {
            mapping.read(self.process.pid(), |_, bytes| {
                schedules(bytes, usize::MAX, &mut |at, key| {
                    // As the process keeps it: in its words' order or the other one, the first ones are the key.
                    let len = 16 * (key.len() / 4 + 7);
                    if bytes[at..].starts_with(key) {
                        needles.add(&bytes[at..at + len]);
                    }
                    needles.add(key);
                });
            });
        }
        for (_, secret) in self.secrets("_TRAFFIC_SECRET_0") {
            let digest = if secret.len() == 64 {
                "SHA256"
            } else {
                "SHA384"
            };
            for len in [16, 32] {
                needles.add(&expanded(&secret, digest, len));
            }
        }
        needles
    }

    /// The secrets of its key log.
    fn secrets(&self, label: &str) -> Vec<(String, String)> {
        let log = std::fs::read_to_string(&self.keys).expect("the key log");
        let words = log
            .lines()
            .map(|line| line.split(' ').collect::<Vec<&str>>());
        words
            .filter(|words| words.len() == 3 && words[0].ends_with(label))
            .map(|words| (words[0].to_owned(), words[2].to_owned()))
            .collect()
    }
}

/// A key of TLS 1.3 by its secret (RFC 8446, section 7.3), as openssl derives it.
fn expanded(secret: &str, digest: &str, len: u8) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(["kdf", "-keylen", &len.to_string()]);
    for option in [
        format!("digest:{digest}"),
        format!("hexkey:{secret}"),
        "mode:EXPAND_ONLY".to_owned(),
        // The length, "tls13 key", and no context.
        format!("hexinfo:00{len:02x}09746c733133206b657900"),
    ] {
        command.arg("-kdfopt").arg(option);
    }
    let said = command.arg("HKDF").output().expect("openssl runs");
    assert!(said.status.success(), "openssl kdf: {said:?}");
    bytes_of(
        &String::from_utf8_lossy(&said.stdout)
            .trim()
            .replace(':', ""),
    )
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let pairs = pairs.map(|pair| std::str::from_utf8(pair).expect("hexadecimal digits"));
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal digits"))
        .collect()
}

/// What is looked for, in pieces of 16 bytes.
#[derive(Default)]
struct Needles {
    pieces: HashSet<[u8; 16]>,
    first: HashSet<[u8; 2]>,
}

impl Needles {
    fn add(&mut self, bytes: &[u8]) {
        for piece in bytes.as_chunks::<16>().0 {
            // Of a schedule that is copied while it is read; or of the key of a self-test, which counts: so do lists of indexes.
            let counts = || piece.windows(2).all(|two| two[0].wrapping_add(1) == two[1]);
            if piece[..15] != piece[1..] && !counts() {
                let mut turned = *piece;
                // As words, which a key is for the kernel programs.
                for word in turned.as_chunks_mut::<4>().0 {
                    word.reverse();
                }
                for piece in [*piece, turned] {
                    self.first.insert([piece[0], piece[1]]);
                    self.pieces.insert(piece);
                }
            }
        }
    }

    /// Where they are in the memory of a process, each with whether that is locked and not dumped.
    fn found_in(&self, pid: u32) -> Vec<(u64, bool, String)> {
        let mut is_first = vec![false; 65_536];
        for [one, two] in &self.first {
            is_first[usize::from(*one) << 8 | usize::from(*two)] = true;
        }
        let mut found = Vec::new();
        for mapping in Mapping::of(pid) {
            mapping.read(pid, |start, bytes| {
                for (at, pair) in bytes.array_windows::<2>().enumerate() {
                    if is_first[usize::from(pair[0]) << 8 | usize::from(pair[1])]
                        && let Some(piece) = bytes[at..].first_chunk::<16>()
                        && self.pieces.contains(piece)
                    {
                        found.push((start + at as u64, mapping.is_kept, mapping.name.clone()));
                    }
                }
            });
        }
        found
    }

    /// They are in no line, in hexadecimal digits.
    fn assert_unsaid(&self, text: &str) {
        let text = text.to_ascii_lowercase();
        for piece in &self.pieces {
            let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!text.contains(&hex), "a key is told");
        }
    }
}

/// Writable memory of a process.
struct Mapping {
    start: u64,
    end: u64,
    name: String,
    /// It is locked, or the kernel's memory, which is never swapped; and in no dump.
    is_kept: bool,
}

impl Mapping {
    fn of(pid: u32) -> Vec<Mapping> {
        let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps"));
        let smaps = smaps.expect("the memory of a process of this test");
        let mut mappings: Vec<Mapping> = Vec::new();
        let mut is_writable = false;
        for line in smaps.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            if let Some((start, end)) = words[0].split_once('-')
                && let Ok(start) = u64::from_str_radix(start, 16)
                && let Ok(end) = u64::from_str_radix(end, 16)
            {
                is_writable = words[1].starts_with("rw");
                if is_writable {
                    let name = words.get(5).copied().unwrap_or_default().to_owned();
                    mappings.push(Mapping {
                        start,
                        end,
                        name,
                        is_kept: false,
                    });
                }
            } else if words[0] == "VmFlags:"
                && is_writable
                && let Some(mapping) = mappings.last_mut()
            {
                let is_of_kernel = mapping.name.starts_with("anon_inode:bpf-map");
                let stays = is_of_kernel || words.contains(&"lo");
                mapping.is_kept = stays && words.contains(&"dd");
            }
        }
        mappings
    }

    /// Its bytes in large pieces, as far as they can be read.
    fn read(&self, pid: u32, mut each: impl FnMut(u64, &[u8])) {
        const PIECE: u64 = 1 << 20;
        let mem = File::open(format!("/proc/{pid}/mem")).expect("a process of this test");
        let mut piece = vec![0; 1 << 20];
        let mut at = self.start;
        while at < self.end {
            let len = usize::try_from(PIECE.min(self.end - at)).unwrap_or_default();
            let n = mem.read_at(&mut piece[..len], at).unwrap_or(0);
            each(at, &piece[..n]);
            at += if n == 0 { 4_096 } else { n as u64 };
        }
    }
}

/// No image of its memory is written.
fn assert_no_core_dump(pid: u32) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let cores: Vec<&str> = cores.expect("a limit").split_whitespace().collect();
    assert_eq!(cores[4..6], ["0", "0"]);
}

/// While the connections are there, keys are there, where they may be; then nowhere. The same of `secrets`, if there are any.
fn are_gone_in_the_end(tracer: u32, talker: &mut Talker, n: usize, secrets: bool) -> Needles {
    let keys = talker.keys();
    let enough = || keys.found_in(tracer).len() >= n;
    assert!(
        eventually(SETTLE, enough),
        "{:?} of {n} keys are found while they are in use",
        keys.found_in(tracer).len()
    );
    let mut all = keys;
    if secrets {
        let mut told = Needles::default();
        for (_, secret) in talker.secrets("") {
            told.add(&bytes_of(&secret));
            all.add(&bytes_of(&secret));
        }
        let n = told.found_in(tracer).len();
        assert!(n >= CONNECTIONS, "{n} pieces of secrets in use are there");
    }
    let found = all.found_in(tracer).into_iter();
    let strays = found.filter(|(_, is_kept, _)| !is_kept);
    let strays: Vec<String> = strays
        .map(|(at, _, name)| format!("{at:x} {name}"))
        .collect();
    assert!(
        strays.is_empty(),
        "what is in use stands where it may be swapped: {strays:?}"
    );
    assert_no_core_dump(tracer);
    talker.end();
    let gone = || all.found_in(tracer).is_empty();
    assert!(
        eventually(SETTLE, gone),
        "left of keys: {:x?}",
        all.found_in(tracer)
    );
    all
}

macro_rules! require_parts {
    () => {
        require!(Privileges, Program("node"), Program("openssl"))
    };
}

#[test]
fn found_keys_are_gone_with_their_connections() {
    require_parts!();
    let mut talker = Talker::held();
    let tracer = Tracer::finding_keys(&[talker.pid()], &[]);
    talker.go();
    let pid = talker.pid();
    tracer.wait_for_streams(pid, "client", 12, RUN);
    // Four connections, both ends, both directions.
    let keys = are_gone_in_the_end(tracer.pid(), &mut talker, 16, false);
    let lines = tracer.process.lines().join("\n");
    assert!(lines.contains("\"scan\""), "nothing was opened");
    keys.assert_unsaid(&lines);
    let (_, said) = tracer.finish_with_errors();
    keys.assert_unsaid(&said.join("\n"));
    drop(talker.folder);
}

#[test]
fn secrets_of_probes_are_gone_with_their_connections() {
    require_parts!();
    let mut talker = Talker::held();
    talker.is_there();
    let pid = talker.pid();
    let tracer = Tracer::probing(&[pid]);
    talker.begin();
    tracer.wait_for_streams(pid, "client", 15, RUN);
    // All five connections, both ends, both directions.
    let keys = are_gone_in_the_end(tracer.pid(), &mut talker, 20, true);
    let lines = tracer.process.lines().join("\n");
    assert!(lines.contains("\"probe\""), "nothing was opened");
    keys.assert_unsaid(&lines);
    let (_, said) = tracer.finish_with_errors();
    keys.assert_unsaid(&said.join("\n"));
    drop(talker.folder);
}

/// The metrics page of a tracer.
fn metrics(address: &str) -> String {
    let mut connection = TcpStream::connect(address).expect("the tracer listens");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection
        .write_all(request.as_bytes())
        .expect("it takes a request");
    let mut page = Vec::new();
    connection.read_to_end(&mut page).expect("it answers");
    String::from_utf8_lossy(&page).into_owned()
}

fn serve(pid: u32, keys: &Path, ready: &Path) -> (Process, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(binary());
    command.args(["serve", "--listen", &address, "--pid", &pid.to_string()]);
    command.arg("--keylog").arg(keys);
    command.arg("--ready-file").arg(ready);
    let mut process = Process::start("h2trace serve", &mut command);
    let is_ready = eventually(RUN, || ready.exists() || !process.is_running());
    assert!(is_ready && ready.exists(), "{}", process.complaint());
    skip::note_that_it_runs();
    (process, address)
}

#[test]
fn keys_and_secrets_of_a_key_log_are_gone_with_their_connections() {
    require_parts!();
    let mut talker = Talker::held();
    let ready = talker.folder.path().join("ready");
    let (mut tracer, address) = serve(talker.pid(), &talker.keys, &ready);
    talker.go();
    let is_seen = || metrics(&address).contains("h2trace_streams_ended_total{");
    assert!(eventually(SETTLE, is_seen), "nothing was opened");
    // All five connections.
    let keys = are_gone_in_the_end(tracer.pid(), &mut talker, 20, true);
    keys.assert_unsaid(&metrics(&address));
    let status = tracer.end(libc::SIGINT);
    assert!(status.success(), "{status}{}", tracer.complaint());
    keys.assert_unsaid(&tracer.lines().join("\n"));
    keys.assert_unsaid(&tracer.errors().join("\n"));
}
