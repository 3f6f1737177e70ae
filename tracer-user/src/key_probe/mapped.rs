//! The files whose code a process has in its memory.
//!
//! Files that another process serves (FUSE) are passed over: it may never answer who opens or reads them. That is known
//! without a question to the file itself, by the device that the mapping is of.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

/// Names a file as `/proc/PID/maps` does: by device and inode.
pub(super) type FileId = (String, u64);

/// Files of one process that are looked at.
const FILES: usize = 2_048;

/// Where a file is in a process.
pub(super) struct Mapped {
    /// Addresses, as `/proc/PID/map_files` names them.
    range: String,
    path: String,
}

/// The files with code that a process has mapped.
#[derive(Default)]
pub(super) struct Files {
    pub(super) found: BTreeMap<FileId, Mapped>,
    /// Those that another process serves, or nobody knows who.
    pub(super) n_served: usize,
}

pub(super) fn files(pid: u32) -> Files {
    let Ok(maps) = File::open(format!("/proc/{pid}/maps")) else {
        return Files::default();
    };
    let lines = BufReader::new(maps).split(b'\n').map_while(Result::ok);
    let files = lines.filter_map(|line| file(&String::from_utf8_lossy(&line)));
    let mut found: BTreeMap<FileId, Mapped> = files.take(FILES).collect();
    let n_all = found.len();
    let mut mounts = None;
    found.retain(|(device, _), _| {
        // Only what has no device of its own may be served.
        device.strip_prefix("00:").is_none_or(|minor| {
            let mounts = mounts.get_or_insert_with(|| Mounts::of(pid));
            mounts.are_local(minor)
        })
    });
    Files {
        n_served: n_all - found.len(),
        found,
    }
}

/// The kinds of file systems that have no device, by their numbers.
struct Mounts(HashMap<u32, bool>);

impl Mounts {
    /// Bytes of a table of mounts that are read: more than a namespace may have (`fs.mount-max`), if paths are short.
    const MOST: u64 = 16 << 20;

    /// As the process sees them, and as the host does: a file may be of a file system that only one of them has.
    fn of(pid: u32) -> Mounts {
        let mut mounts = Mounts(HashMap::new());
        for of in ["1", "self", &pid.to_string()] {
            let Ok(table) = File::open(format!("/proc/{of}/mountinfo")) else {
                continue;
            };
            let lines = BufReader::new(table.take(Mounts::MOST)).split(b'\n');
            for line in lines.map_while(Result::ok) {
                mounts.line(&String::from_utf8_lossy(&line));
            }
        }
        mounts
    }

    /// Of proc_pid_mountinfo(5): two numbers, device, and more; behind a dash the file system.
    fn line(&mut self, line: &str) -> Option<()> {
        let minor = line.split(' ').nth(2)?.strip_prefix("0:")?.parse().ok()?;
        let kind = line.split_once(" - ")?.1.split(' ').next()?;
        let is_local = kind != "fuse" && !kind.starts_with("fuse.");
        // Whoever has a mount chooses its path, and not what it is: one that says FUSE is enough.
        *self.0.entry(minor).or_insert(true) &= is_local;
        Some(())
    }

    fn are_local(&self, minor: &str) -> bool {
        let minor = u32::from_str_radix(minor, 16).ok();
        minor.is_some_and(|minor| self.0.get(&minor) == Some(&true))
    }
}

/// A line of `/proc/PID/maps` (proc(5)): addresses, access, offset, device, inode, path.
fn file(line: &str) -> Option<(FileId, Mapped)> {
    let mut words = line.splitn(6, ' ');
    let (range, access) = (words.next()?, words.next()?);
    let (_, device, inode) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
    let path = words.next()?.trim_start();
    if !access.contains('x') || inode == 0 {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let bare = |address: &str| address.trim_start_matches('0').to_owned();
    let mapped = Mapped {
        range: format!("{}-{}", bare(start), bare(end)),
        path: path.to_owned(),
    };
    Some(((device.to_owned(), inode), mapped))
}

/// Opens it: by its addresses, which takes a right of its own; as the program; or by its name, as the process has it.
pub(super) fn open(pid: u32, (_, inode): &FileId, mapped: &Mapped) -> Option<File> {
    let Mapped { range, path } = mapped;
    let ways = [
        format!("/proc/{pid}/map_files/{range}"),
        format!("/proc/{pid}/exe"),
        format!("/proc/{pid}/root{path}"),
    ];
    ways.iter().find_map(|way| {
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(way);
        let file = file.ok()?;
        let metadata = file.metadata().ok()?;
        (metadata.is_file() && metadata.ino() == *inode).then_some(file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_files_is_what_a_line_tells() {
        let told = |line: &str| {
            file(line).map(|((device, inode), mapped)| (device, inode, mapped.range, mapped.path))
        };
        assert_eq!(
            told("00400000-0067a000 r-xp 00400000 fe:01 4711                       /usr/bin/a b"),
            Some((
                "fe:01".to_owned(),
                4_711,
                "400000-67a000".to_owned(),
                "/usr/bin/a b".to_owned()
            ))
        );
        for line in [
            "7f0000000000-7f0000001000 r--p 00000000 fe:01 4711 /usr/bin/a",
            "7f0000000000-7f0000001000 r-xp 00000000 00:00 0",
            "7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                  [vdso]",
            "cut",
        ] {
            assert_eq!(told(line), None, "{line}");
        }
    }

    #[test]
    fn what_another_process_serves_is_not_local() {
        let mut mounts = Mounts(HashMap::new());
        for line in [
            "22 1 0:21 / /tmp rw,relatime shared:5 - tmpfs tmpfs rw",
            "23 1 0:42 / /a/b\\040-\\040c rw - fuse.sshfs host: rw,user_id=0",
            "24 1 0:43 / /d rw - fuse x rw",
            "25 1 254:1 / / rw - ext4 /dev/vda1 rw",
            "26 1 0:44 / /e rw master:1 - overlay overlay rw",
            "cut",
        ] {
            mounts.line(line);
        }
        let local = ["15", "2a", "2b", "2c", "2d", "x"].map(|minor| mounts.are_local(minor));
        assert_eq!(local, [true, false, false, true, false, false]);
    }

    #[test]
    fn own_program_is_opened() {
        let pid = std::process::id();
        let exe = std::fs::metadata("/proc/self/exe").unwrap();
        let files = files(pid);
        let mut found = files.found.iter();
        let found = found.find(|((_, inode), _)| *inode == exe.ino());
        let (id, mapped) = found.expect("the program is mapped");
        assert!(open(pid, id, mapped).is_some());
        assert!(open(pid, &(String::new(), 1), mapped).is_none());
    }
}
