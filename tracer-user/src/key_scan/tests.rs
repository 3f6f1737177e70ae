//! Searches that are held up, flooded or cut short. (Those of real programs are in `tests/keys`.)

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::memory::{Memory, ProcessId};
use super::scan::{BUFFER, Summary, scan};
use super::vault::{Pages, Vault};
use super::{Answer, KeyScanner, Settings, Wanted};
use h2trace_core::connection::Endpoint;
use h2trace_core::tls::{Context, KeyLog, Sample, Scratch, Session, Why};

/// The schedule of FIPS 197, appendix A.1.
const SCHEDULE: [u32; 44] = [
    0x2b7e_1516,
    0x28ae_d2a6,
    0xabf7_1588,
    0x09cf_4f3c,
    0xa0fa_fe17,
    0x8854_2cb1,
    0x23a3_3939,
    0x2a6c_7605,
    0xf2c2_95f2,
    0x7a96_b943,
    0x5935_807a,
    0x7359_f67f,
    0x3d80_477d,
    0x4716_fe3e,
    0x1e23_7e44,
    0x6d7a_883b,
    0xef44_a541,
    0xa852_5b7f,
    0xb671_253b,
    0xdb0b_ad00,
    0xd4d1_c6f8,
    0x7c83_9d87,
    0xcaf2_b8bc,
    0x11f9_15bc,
    0x6d88_a37a,
    0x110b_3efd,
    0xdbf9_8641,
    0xca00_93fd,
    0x4e54_f70e,
    0x5f5f_c9f3,
    0x84a6_4fb2,
    0x4ea6_dc4f,
    0xead2_7321,
    0xb58d_bad2,
    0x312b_f560,
    0x7f8d_292f,
    0xac77_66f3,
    0x19fa_dc21,
    0x28d1_2941,
    0x575c_006e,
    0xd014_f9a8,
    0xc9ee_2589,
    0xe13f_0cc8,
    0xb663_0ca6,
];

/// The process whose reads are held up.
static HELD: AtomicU32 = AtomicU32::new(0);

/// Called before each read.
pub(super) fn hold_up(process: ProcessId) {
    while HELD.load(Ordering::Relaxed) == process.pid {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Records of which no key is anywhere.
fn sample() -> Sample {
    let mut session = Session::late();
    let mut scratch = Scratch::default();
    let record = |n: u8| [&[23, 3, 3, 0, 60][..], &[n; 60]].concat();
    let bytes: Vec<u8> = (0..4).flat_map(record).collect();
    let mut context = Context {
        keys: &KeyLog::default(),
        scratch: &mut scratch,
        out: &mut |_| {},
    };
    session.take(Endpoint::Client, 0, (0, &bytes, 0), &mut context);
    session.wanted(Endpoint::Client).unwrap()
}

fn wanted(id: u64) -> Wanted {
    Wanted {
        id,
        sender: Endpoint::Client,
        sample: sample(),
    }
}

/// Searches a process; `goes_on` is asked before each piece.
fn search(process: ProcessId, mut goes_on: impl FnMut() -> bool) -> (Summary, usize) {
    let memory = Memory::open(process, &Arc::default()).unwrap();
    let mappings = memory.mappings().unwrap();
    let mut wanted = vec![wanted(1)];
    let (mut buffer, vault) = (Pages::new(BUFFER).unwrap(), Vault::new(4, 0));
    let summary = scan(
        &memory,
        &mappings,
        &mut wanted,
        (&mut buffer, &vault),
        &mut goes_on,
        &mut |_| panic!("there is no such key"),
    );
    assert!(buffer.bytes().iter().all(|byte| *byte == 0));
    (summary, wanted.len())
}

/// A process that does nothing, with a heap of its own.
fn idle() -> Child {
    let mut child = Command::new("sh")
        .args(["-c", "x=$(seq 1 200000); echo ready; read -r _"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = child.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    child
}

#[test]
fn memory_full_of_schedules_that_open_nothing_is_bounded_and_told() {
    let mut flood = Pages::new(8 << 20).unwrap();
    let copy: Vec<u8> = SCHEDULE
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .collect();
    for part in flood.bytes().chunks_exact_mut(copy.len()) {
        part.copy_from_slice(&copy);
    }
    let process = ProcessId::of(std::process::id()).unwrap();
    let (summary, left) = search(process, || true);
    assert_eq!(left, 1);
    // 372 of them fit into a piece.
    assert!(summary.pieces_cut > 100, "{summary:?}");
    let most = summary.pieces_cut * h2trace_core::limits::TLS_SCHEDULES as u64;
    assert!(summary.schedules >= most, "{summary:?}");
    assert!(summary.finds.is_empty() && !summary.is_cut);
    drop(flood);
}

#[test]
fn a_process_that_ends_while_it_is_read_hurts_nobody() {
    let mut child = idle();
    let process = ProcessId::of(child.id()).unwrap();
    let mut pieces = 0;
    let (summary, left) = search(process, || {
        pieces += 1;
        if pieces == 2 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        true
    });
    child.wait().unwrap();
    assert!(pieces >= 2 && summary.bytes > 0, "{summary:?}");
    assert_eq!(left, 1);
    assert!(!process.lives());
}

#[test]
fn a_process_that_becomes_another_program_is_not_read_any_further() {
    let mut shell = Command::new("sh")
        .args([
            "-c",
            "x=$(seq 1 200000); echo ready; read -r _; exec sleep 60",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = shell.stdout.take().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    let process = ProcessId::of(shell.id()).unwrap();
    let memory = Memory::open(process, &Arc::default()).unwrap();
    let mappings = memory.mappings().unwrap();
    let mut byte = [0; 8];
    let mut reads = |memory: &Memory| {
        mappings
            .iter()
            .any(|range| memory.read(range.start, &mut byte) > 0)
    };
    assert!(reads(&memory));
    drop(shell.stdin.take());
    let deadline = Instant::now() + Duration::from_secs(10);
    while reads(&memory) && Instant::now() < deadline {
        std::thread::yield_now();
    }
    // It has the same number and began at the same time, and the old memory is not there any more.
    assert!(!reads(&memory));
    shell.kill().unwrap();
    shell.wait().unwrap();
}

/// Pages whose faults wait for the process itself (userfaultfd(2)), which never serves them.
struct Withheld {
    at: *mut libc::c_void,
    len: usize,
    _fd: OwnedFd,
}

impl Withheld {
    fn new(len: usize) -> Withheld {
        /// `_IOWR(0xAA, 0x3F, struct uffdio_api)` and `_IOWR(0xAA, 0x00, struct uffdio_register)`.
        const API: libc::c_ulong = 0xc018_aa3f;
        const REGISTER: libc::c_ulong = 0xc020_aa00;
        const MISSING: u64 = 1;
        // SAFETY: the call takes flags alone.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        let fd = i32::try_from(fd).unwrap();
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the descriptor is new.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, access, kind, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        // Some are there, as those of a heap are.
        // SAFETY: the mapping was just made.
        unsafe { std::ptr::write_bytes(at.cast::<u8>(), 7, len / 2) };
        let mut api = [0xaa_u64, 0, 0];
        let mut register = [at as u64, len as u64, MISSING, 0];
        // SAFETY: both are as the kernel has them, and outlive the calls.
        let done = unsafe {
            libc::ioctl(fd.as_raw_fd(), API, api.as_mut_ptr())
                | libc::ioctl(fd.as_raw_fd(), REGISTER, register.as_mut_ptr())
        };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        Withheld { at, len, _fd: fd }
    }
}

impl Drop for Withheld {
    fn drop(&mut self) {
        // SAFETY: nothing uses it any more.
        unsafe { libc::munmap(self.at, self.len) };
    }
}

#[test]
fn pages_that_another_process_serves_are_not_touched() {
    let withheld = Withheld::new(1 << 20);
    let process = ProcessId::of(std::process::id()).unwrap();
    let memory = Memory::open(process, &Arc::default()).unwrap();
    let start = withheld.at as u64;
    let mappings = memory.mappings().unwrap();
    assert!(!mappings.iter().any(|range| range.contains(&start)));
    // They may go at any moment: a read of one of these would never end.
    // SAFETY: the mapping is the test's own, and nobody reads it.
    let gone = unsafe { libc::madvise(withheld.at, withheld.len, libc::MADV_DONTNEED) };
    assert_eq!(gone, 0);
    let (summary, left) = search(process, || true);
    assert_eq!((left, summary.is_cut), (1, false));
}

#[test]
fn every_wish_is_answered() {
    let settings = Settings {
        share: 1.0,
        ..Settings::default()
    };
    let scanner = KeyScanner::start(settings).unwrap();
    let mut child = idle();
    let mut gone = idle();
    let pid = child.id();
    for id in 0..3 {
        assert!(scanner.ask(pid, wanted(id)));
    }
    assert!(scanner.ask(gone.id(), wanted(3)));
    gone.kill().unwrap();
    gone.wait().unwrap();
    assert!(!scanner.ask(gone.id(), wanted(4)));
    let (mut missed, mut searched) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    while missed.len() < 4 && Instant::now() < deadline {
        for answer in scanner.answers() {
            match answer {
                Answer::Found(_) => panic!("there is no such key"),
                Answer::Missed { id, why, .. } => missed.push((id, why)),
                Answer::Searched { pid, is_first, .. } => searched.push((pid, is_first)),
            }
        }
        assert!(!scanner.is_stuck());
        std::thread::sleep(Duration::from_millis(5));
    }
    missed.sort_unstable();
    let wanted = [
        (0, Why::KeyNotFound),
        (1, Why::KeyNotFound),
        (2, Why::KeyNotFound),
        (3, Why::EndedBeforeKey),
    ];
    assert_eq!(missed, wanted);
    // One search for all three.
    assert_eq!(searched, [(pid, true)]);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Wishes that were answered, when so many are.
fn missed(scanner: &KeyScanner, n: usize) -> Vec<(u64, Why)> {
    let mut missed = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while missed.len() < n && Instant::now() < deadline {
        for answer in scanner.answers() {
            if let Answer::Missed { id, why, .. } = answer {
                missed.push((id, why));
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    missed
}

#[test]
fn a_process_that_holds_up_its_reader_is_not_read_again_and_others_are() {
    let mut scanner = KeyScanner::start(Settings {
        share: 1.0,
        patience: Duration::from_millis(100),
        ..Settings::default()
    })
    .unwrap();
    let (mut other, mut holders) = (idle(), [idle(), idle(), idle()]);
    for (nth, holder) in holders.iter().enumerate() {
        HELD.store(holder.id(), Ordering::Relaxed);
        assert!(scanner.ask(holder.id(), wanted(1)));
        assert!(scanner.ask(other.id(), wanted(2)));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !scanner.is_stuck() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let renewed = scanner.renew();
        if nth == 2 {
            assert_eq!(renewed, None, "threads are bounded");
            break;
        }
        assert_eq!(renewed, Some(holder.id()));
        assert!(!scanner.is_stuck());
        scanner.answers().for_each(drop);
        for (pid, id) in [(holder.id(), 1), (other.id(), 2)] {
            assert!(scanner.ask(pid, wanted(id)));
        }
        let missed = missed(&scanner, 2);
        assert!(missed.contains(&(1, Why::MemoryUnreadable)), "{missed:?}");
        assert!(missed.contains(&(2, Why::KeyNotFound)), "{missed:?}");
    }
    HELD.store(0, Ordering::Relaxed);
    for child in holders.iter_mut().chain([&mut other]) {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
