//! Programs that make the search for keys as hard as they can, beside one that does not.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tracer_tests::identity::Identity;
use tracer_tests::process::Process;
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::trace::Trace;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, require};

use crate::keys_gone::{CONNECTIONS, FINDABLE, Talker};
use crate::tls::{nghttpd, seen};
use crate::{RUN, SETTLE};

/// Withholds pages and files from who reads them.
pub(crate) const WITHHELD: &str = include_str!("withheld.py");

/// Fills its memory with key schedules that open nothing, and speaks to itself over TLS that is none: KEY CERTIFICATE FOLDER.
const HOSTILE: &str = r#"
import os, socket, ssl, sys, time

withheld = Files(sys.argv[3])
withhold_pages()
schedule = bytes.fromhex(
    '2b7e151628aed2a6abf7158809cf4f3ca0fafe1788542cb123a339392a6c7605f2c295f27a96b9435935807a7359f67f'
    '3d80477d4716fe3e1e237e446d7a883bef44a541a8525b7fb671253bdb0bad00d4d1c6f87c839d87caf2b8bc11f915bc'
    '6d88a37a110b3efddbf98641ca0093fd4e54f70e5f5fc9f384a64fb24ea6dc4fead27321b58dbad2312bf5607f8d292f'
    'ac7766f319fadc2128d12941575c006ed014f9a8c9ee2589e13f0cc8b6630ca6')
memory = bytearray(schedule * (8 << 20 >> 8))
listener = socket.create_server(('127.0.0.1', 0))

def pair():
    one = socket.create_connection(listener.getsockname())
    return one, listener.accept()[0]

def end(is_server):
    kind = ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT
    context = ssl.SSLContext(kind)
    context.set_alpn_protocols(['h2'])
    if is_server:
        context.load_cert_chain(sys.argv[2], sys.argv[1])
    else:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    return context.wrap_bio(into, out, server_side=is_server), into, out

def step(tls):
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass

def send(frm, to, out, into):
    said = out.read()
    frm.sendall(said)
    taken = b''
    while len(taken) < len(said):
        taken += to.recv(65536)
    into.write(taken)
    return said

def garbage(n):
    return b''.join(b'\x17\x03\x03\x00\x40' + os.urandom(64) for _ in range(n))

kept = []
# A handshake as it should be, and behind it records that no key seals.
for _ in range(4):
    (client, server), (c, ci, co), (s, si, so) = pair(), end(False), end(True)
    step(c); hello = send(client, server, co, si)
    step(s); answer = send(server, client, so, ci)
    step(c); send(client, server, co, si)
    step(s)
    client.sendall(garbage(20)); server.sendall(garbage(20))
    kept += [client, server]
# Half a ClientHello; a ServerHello that nobody asked for; records of garbage alone.
for first, second in [(hello[:80], b''), (b'', answer), (garbage(20), garbage(20))]:
    client, server = pair()
    client.sendall(first); server.sendall(second)
    kept += [client, server]
print('said', flush=True)
sys.stdin.readline()
# In the middle of a search, or of a wait for the next one.
os.execvp('sleep', ['sleep', '60'])
"#;

fn hostile(folder: &Path) -> Process {
    let identity = Identity::new(folder);
    let mut command = Command::new("python3");
    command.arg("-c").arg(format!("{WITHHELD}\n{HOSTILE}"));
    let served = folder.join("served");
    std::fs::create_dir(&served).expect("cannot make a folder");
    command.args(identity.files()).arg(served);
    Process::start_held("python3", &command)
}

#[test]
fn who_floods_the_search_for_keys_does_not_hide_others() {
    require!(
        Privileges,
        Program("node"),
        Program("python3"),
        Program("openssl")
    );
    let folder = TempDir::new().expect("cannot make a folder");
    let mut hostile = hostile(folder.path());
    let mut talker = Talker::held();
    let (hostile_pid, talker_pid) = (hostile.pid(), talker.pid());
    let tracer = Tracer::finding_keys(&[hostile_pid, talker_pid], &[]);
    hostile.write_line("go");
    hostile.wait_for_line(0, RUN, |line| (line == "said").then_some(()));
    talker.go();
    let n_open = |trace: &Trace| {
        let all = seen(trace).into_iter();
        all.filter(|line| line["pid"] == talker_pid && line["tls"]["key"] == "scan")
            .count()
    };
    let is_told = || n_open(&Trace::read(&tracer.process.lines())) >= 2 * FINDABLE;
    assert!(eventually(RUN, is_told), "keys of the other are not found");
    hostile.write_line("exec");
    talker.end();
    let trace = tracer.finish();
    assert_eq!(n_open(&trace), 2 * FINDABLE);
    let of_talker = seen(&trace)
        .into_iter()
        .filter(|line| line["pid"] == talker_pid);
    assert_eq!(of_talker.count(), 2 * CONNECTIONS);
    // Nothing of the hostile one was opened, nothing is said to be of HTTP/2.
    for line in seen(&trace) {
        if line["pid"] == hostile_pid {
            assert_eq!(line["protocol"], "tls", "{line}");
            assert_ne!(line["tls"]["key"], "scan", "{line}");
            // What never had a hello has nothing to tell.
            let is_told = line["tls"].is_null() || line["tls"]["why"].is_string();
            assert!(is_told, "{line}");
        }
    }
    for role in ["client", "server"] {
        assert_eq!(trace.streams_of(hostile_pid, role).count(), 0);
    }
    let false_ones = trace.findings.iter();
    let false_ones = false_ones.filter(|finding| finding.kind() != "tls_handshake_failed");
    assert_eq!(false_ones.count(), 0);
    trace.assert_lossless();
}

/// Has openssl change its keys before each request, and ask its peer to do the same: PORT REQUESTS.
const CHANGING: &str = r#"
import subprocess, sys, time

client = subprocess.Popen(['openssl', 's_client', '-tls1_3', '-alpn', 'h2', '-connect', 'localhost:' + sys.argv[1]],
                          stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, bufsize=0)

def say(said):
    # What begins with a letter is a command of s_client's: each has to be read alone.
    client.stdin.write(said)
    time.sleep(0.03)

time.sleep(0.5)
say(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
fields = bytes([0x82, 0x87, 0x84, 0x41, 9]) + b'localhost'
for number in range(int(sys.argv[2])):
    say(b'K\n')
    say(bytes([0, 0, len(fields), 1, 5]) + (2 * number + 1).to_bytes(4, 'big') + fields)
time.sleep(0.5)
client.kill()
client.wait()
"#;

const REQUESTS: usize = 30;

/// Streams whose request and answer are told. There is no such page.
fn n_answered(trace: &Trace, server: u32) -> usize {
    let streams = trace.streams_of(server, "server");
    streams
        .filter(|stream| stream.0["http_status"] == 404)
        .count()
}

/// A connection to nghttpd whose keys change before each request, and what is told of them at its end.
fn changing(start: impl FnOnce(u32) -> Tracer) -> (Trace, u32) {
    let folder = TempDir::new().expect("cannot make a folder");
    let (server, port) = nghttpd(folder.path());
    let tracer = start(server.pid());
    let mut command = Command::new("python3");
    command.args(["-c", CHANGING]);
    command.args([port.to_string(), REQUESTS.to_string()]);
    let mut client = Process::start("python3", &mut command);
    assert!(client.wait(RUN).success(), "{}", client.complaint());
    let n_told = || {
        let trace = Trace::read(&tracer.process.lines());
        trace.streams_of(server.pid(), "server").count()
    };
    eventually(SETTLE / 5, || n_told() >= REQUESTS);
    let trace = tracer.finish();
    assert!(trace.streams_of(server.pid(), "server").count() <= REQUESTS);
    (trace, server.pid())
}

#[test]
fn keys_that_change_before_each_request_are_followed_from_their_secrets() {
    require!(
        Privileges,
        Program("nghttpd"),
        Program("python3"),
        Program("openssl")
    );
    let (trace, server) = changing(|pid| Tracer::probing(&[pid]));
    assert_eq!(n_answered(&trace, server), REQUESTS);
    let connections = seen(&trace);
    let [.., line] = &connections[..] else {
        panic!("no connection is told")
    };
    assert_eq!(line["tls"]["key"], "probe", "{line}");
    assert!(line["tls"]["why"].is_null(), "{line}");
    trace.assert_healthy();
}

/// Each of them would have to be found anew, once a second at most.
#[test]
fn keys_that_change_before_each_request_are_no_finding_when_memory_is_searched() {
    require!(
        Privileges,
        Program("nghttpd"),
        Program("python3"),
        Program("openssl")
    );
    let (trace, server) = changing(|pid| Tracer::finding_keys(&[pid], &[]));
    let n_answered = n_answered(&trace, server);
    for line in seen(&trace) {
        // What is missing is told, at the connection.
        let is_told = line["tls"]["why"].is_string() || n_answered == REQUESTS;
        assert!(line["tls"].is_null() || is_told, "{n_answered}: {line}");
    }
    assert!(trace.flagged().is_empty(), "{:?}", trace.flagged()[0].0);
}
