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

use crate::RUN;
use crate::keys_gone::{CONNECTIONS, FINDABLE, Talker};
use crate::tls::seen;

/// Fills its memory with key schedules that open nothing, and speaks to itself over TLS that is none: KEY CERTIFICATE.
const HOSTILE: &str = r#"
import os, socket, ssl, sys, time

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
    command.args(["-c", HOSTILE]).args(identity.files());
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
