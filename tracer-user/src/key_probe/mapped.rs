//! The files whose code a process has in its memory.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader};
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
pub(super) fn files(pid: u32) -> BTreeMap<FileId, Mapped> {
    let Ok(maps) = File::open(format!("/proc/{pid}/maps")) else {
        return BTreeMap::new();
    };
    let lines = BufReader::new(maps).split(b'\n').map_while(Result::ok);
    let files = lines.filter_map(|line| file(&String::from_utf8_lossy(&line)));
    files.take(FILES).collect()
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
    fn own_program_is_opened() {
        let pid = std::process::id();
        let exe = std::fs::metadata("/proc/self/exe").unwrap();
        let files = files(pid);
        let found = files.iter().find(|((_, inode), _)| *inode == exe.ino());
        let (id, mapped) = found.expect("the program is mapped");
        assert!(open(pid, id, mapped).is_some());
        assert!(open(pid, &(String::new(), 1), mapped).is_none());
    }
}
