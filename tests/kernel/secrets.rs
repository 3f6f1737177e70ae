//! Secrets of handshakes: whose leave the kernel, and which.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};

use h2trace::kernel::{Attached, Filter, Options, SecretProgram, SecretReader, Tracer};
use tracer_ebpf::counter::Counter;
use tracer_ebpf::secret::{Layout, NO_REGISTER, SLOTS};
use tracer_tests::require;
use tracer_tests::skip::{self, Privileges};

/// What a program calls with each secret, as BoringSSL and OpenSSL have it.
#[inline(never)]
extern "C" fn log_secret(owner: u64, label: *const u8, secret: *const u8, len: usize) -> u64 {
    std::hint::black_box((label, secret, len));
    std::hint::black_box(owner)
}

/// Its place in the file of this program, which is mapped with all that is before it.
fn place() -> (File, u64) {
    let address = log_secret as *const () as u64;
    let maps = std::fs::read_to_string("/proc/self/maps").expect("own memory");
    let number = |text: &str| u64::from_str_radix(text, 16).expect("a number");
    let offset = maps.lines().find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (start, end) = words[0].split_once('-')?;
        let range = number(start)..number(end);
        let offset = range.contains(&address).then(|| address - range.start);
        Some(offset? + number(words[2]))
    });
    let file = File::open("/proc/self/exe").expect("own program");
    (file, offset.expect("code is in the program's file"))
}

/// The arguments' places.
const LAYOUT: Layout = {
    let [owner, label, secret, secret_len] = if cfg!(target_arch = "x86_64") {
        [14, 13, 12, 11]
    } else {
        [0, 1, 2, 3]
    };
    Layout {
        owner,
        label,
        label_len: NO_REGISTER,
        secret,
        secret_len,
        random: NO_REGISTER,
    }
};

/// A process that calls the function when it is told to.
struct Caller {
    pid: libc::pid_t,
    orders: Option<PipeWriter>,
    done: PipeReader,
}

impl Caller {
    fn new(owner: u64) -> Caller {
        let (mut ordered, orders) = pipe().expect("a pipe");
        let (done, mut doing) = pipe().expect("a pipe");
        // SAFETY: the child makes system calls and plain calls alone, and takes no lock that another thread may have.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "no process");
        if pid == 0 {
            drop((orders, done));
            let mut times = [0_u8; 4];
            while ordered.read_exact(&mut times).is_ok() {
                for _ in 0..u32::from_ne_bytes(times) {
                    talk(owner);
                }
                if doing.write_all(&[1]).is_err() {
                    break;
                }
            }
            // SAFETY: it ends at once.
            unsafe { libc::_exit(0) };
        }
        let orders = Some(orders);
        Caller { pid, orders, done }
    }

    fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    fn call(&mut self, times: u32) {
        let orders = self.orders.as_mut().expect("it is there");
        orders.write_all(&times.to_ne_bytes()).expect("it listens");
        self.done.read_exact(&mut [0]).expect("it calls");
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.orders = None;
        // SAFETY: a child of this process, which ends when its orders do.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

/// Two secrets that are wanted, and what is not.
fn talk(owner: u64) {
    let secret = [owner as u8; 48];
    for (label, len) in [
        (&b"CLIENT_HANDSHAKE_TRAFFIC_SECRET\0"[..], 32),
        (b"SERVER_TRAFFIC_SECRET_0\0", 48),
        (b"EXPORTER_SECRET\0", 32),
        (b"CLIENT_TRAFFIC_SECRET_0\0", 33),
    ] {
        log_secret(owner, label.as_ptr(), secret.as_ptr(), len);
    }
    // Nothing is there.
    log_secret(owner, std::ptr::null(), secret.as_ptr(), 32);
}

/// What is read of one secret: process, owner, label, secret.
type Told = (u32, u64, String, Vec<u8>);

fn read(reader: &mut SecretReader) -> Vec<Told> {
    let mut told = Vec::new();
    reader.read(&mut |secret| {
        let label = secret.label.split(|byte| *byte == 0).next().expect("one");
        let label = String::from_utf8_lossy(label).into_owned();
        let bytes = secret.secret[..secret.secret_len as usize].to_vec();
        told.push((secret.tgid, secret.owner, label, bytes));
    });
    told.sort_unstable();
    told
}

/// The kernel programs with this filter, and the function probed.
fn probed(filter: Filter) -> (Tracer, SecretProgram, SecretReader, Attached) {
    let options = Options {
        filter,
        secrets: true,
        ..Options::default()
    };
    let mut tracer = Tracer::start(&options).unwrap_or_else(|error| panic!("{error}"));
    let (program, reader) = tracer.take_secrets().expect("the program loads");
    let (file, offset) = place();
    let attached = program.attach(&file, offset, LAYOUT.cookie());
    let attached = attached.expect("the function is there");
    skip::note_that_it_runs();
    (tracer, program, reader, attached)
}

/// What one `talk` tells.
fn told_by(caller: &Caller, owner: u64) -> Vec<Told> {
    let secret = |len| vec![owner as u8; len];
    let of = |label: &str, len| (caller.pid(), owner, label.to_owned(), secret(len));
    vec![
        of("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 32),
        of("SERVER_TRAFFIC_SECRET_0", 48),
    ]
}

#[test]
fn secrets_of_selected_processes_alone_leave_the_kernel() {
    require!(Privileges);
    let (mut selected, mut other) = (Caller::new(17), Caller::new(18));
    let (tracer, _program, mut reader, attached) = probed(Filter {
        pids: vec![selected.pid()],
        ..Filter::default()
    });
    other.call(3);
    assert_eq!(read(&mut reader), []);
    selected.call(1);
    other.call(3);
    assert_eq!(read(&mut reader), told_by(&selected, 17));
    assert_eq!(read(&mut reader), [], "each is read once");
    // More than there is place for: what nobody reads is counted.
    selected.call(2 * SLOTS);
    let n_told = read(&mut reader).len() as u64;
    let counters = tracer.counters().expect("counters");
    let n_lost = counters[Counter::SecretsLost as usize];
    assert!(n_told > u64::from(SLOTS) / 2, "{n_told}");
    assert_eq!(n_told + n_lost, u64::from(4 * SLOTS));
    selected.call(1);
    assert_eq!(read(&mut reader), told_by(&selected, 17));
    drop(attached);
    selected.call(3);
    assert_eq!(read(&mut reader), [], "nothing is attached any more");
}

#[test]
fn filter_that_asks_for_a_socket_waits_until_a_process_is_known() {
    require!(Privileges);
    let mut caller = Caller::new(19);
    let (_tracer, mut program, mut reader, _attached) = probed(Filter {
        ports: vec![1],
        ..Filter::default()
    });
    caller.call(2);
    assert_eq!(read(&mut reader), []);
    program.include(caller.pid());
    caller.call(1);
    assert_eq!(read(&mut reader), told_by(&caller, 19));
    program.forget(caller.pid());
    caller.call(2);
    assert_eq!(read(&mut reader), []);
}
