//! Which memory of a process may hold keys, from `/proc/PID/smaps` (proc_pid_smaps(5)).

use std::io::{self, BufRead};
use std::ops::Range;

/// Mappings of one process that are looked at. The kernel's own default limit is below it (`vm.max_map_count`, 65,530).
const MAPPINGS: usize = 131_072;

/// Longest line that is read: a path may be 4,096 bytes.
const LINE: u64 = 8_192;

/// Flags of mappings that are not read: userfaultfd may make the reader wait (`um`, `uw`, `ui`), and memory of devices
/// is none (`io`, `pf`).
const REFUSED: [&str; 5] = ["um", "uw", "ui", "io", "pf"];

/// Reads the mappings that are private, anonymous, writable and in memory at least in part, by address.
pub(super) fn read(mut smaps: impl BufRead) -> io::Result<Vec<Range<u64>>> {
    let mut mappings = Vec::new();
    let mut current: Option<Range<u64>> = None;
    let (mut line, mut anonymous) = (Vec::new(), true);
    loop {
        line.clear();
        let n = io::Read::take(&mut smaps, LINE).read_until(b'\n', &mut line)?;
        if n == 0 || mappings.len() >= MAPPINGS {
            return Ok(mappings);
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            continue;
        };
        let mut words = text.split_ascii_whitespace();
        match words.next() {
            Some("Anonymous:") => anonymous = words.next() != Some("0"),
            // The last line of a mapping.
            Some("VmFlags:") => {
                let is_refused = words.any(|flag| REFUSED.contains(&flag));
                mappings.extend(current.take().filter(|_| anonymous && !is_refused));
            }
            Some(range) => {
                if let Some(range) = addresses(range) {
                    current = range.filter(|_| is_own(words));
                    anonymous = true;
                }
            }
            None => {}
        }
    }
}

/// The two ends of `7f00-7f10`. None: the line is another one.
fn addresses(word: &str) -> Option<Option<Range<u64>>> {
    let (from, to) = word.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let (from, to) = (number(from)?, number(to)?);
    Some((from < to).then_some(from..to))
}

/// Private, writable, of no file: what follows the addresses is permissions, offset, device and inode, and a name or
/// none.
fn is_own<'a>(mut words: impl Iterator<Item = &'a str>) -> bool {
    let Some([b'r', b'w', _, b'p']) = words.next().map(str::as_bytes) else {
        return false;
    };
    let inode = words.nth(2);
    // A file that was removed has its number still.
    inode == Some("0") && words.next().is_none_or(|name| !name.starts_with("[v"))
}

/// Brings mappings into the order in which they are searched: where keys were before; those that were not there the last
/// time; the others. Within each by address from the lowest: new ones are put below old ones.
pub(super) fn sort(mappings: &mut [Range<u64>], finds: &[u64], before: &[Range<u64>]) {
    mappings.sort_by_key(|mapping| {
        let had_keys = finds.iter().any(|at| mapping.contains(at));
        let is_old = before
            .binary_search_by_key(&mapping.start, |range| range.start)
            .is_ok();
        (!had_keys, is_old, mapping.start)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d0-55d8 rw-p 00000000 00:00 0                                          [heap]
Size:                 32 kB
Anonymous:            32 kB
VmFlags: rd wr mr mw me ac sd
7000-7001 r--p 00000000 00:00 0
Anonymous:             4 kB
VmFlags: rd mr mw me ac sd
7100-7101 rw-p 00001000 fe:01 4711                                       /usr/lib/libssl.so.3
Anonymous:             4 kB
VmFlags: rd wr mr mw me ac sd
7200-7201 rw-s 00000000 00:01 12                                         /dev/zero (deleted)
Anonymous:             0 kB
VmFlags: rd wr sh mr mw me ms sd
7300-7301 rw-p 00000000 00:00 0
Anonymous:             0 kB
VmFlags: rd wr mr mw me ac sd
7400-7401 rw-p 00000000 00:00 0                                          [anon: a name 0-1]
Anonymous:             4 kB
VmFlags: rd wr mr mw me ac sd
7500-7501 rw-p 00000000 00:00 0
Anonymous:             4 kB
VmFlags: rd wr mr mw me ac sd um
7600-7601 rw-p 00000000 00:00 0                                          [stack]
Anonymous:             4 kB
VmFlags: rd wr mr mw me gd ac
7700-7702 ---p 00000000 00:00 0
VmFlags: mr mw me sd
";

    #[test]
    fn private_anonymous_memory_is_chosen_and_nothing_else() {
        let found = read(SMAPS.as_bytes()).unwrap();
        let starts: Vec<u64> = found.iter().map(|range| range.start).collect();
        assert_eq!(starts, [0x55d0, 0x7400, 0x7600]);
        assert_eq!(
            read(&b"\xff\xff\n\n- x\nVmFlags:\n1-0 rw-p\n"[..]).unwrap(),
            []
        );
    }

    #[test]
    fn places_of_earlier_finds_are_the_first_and_then_new_ones() {
        let range = |start: u64| start..start + 0x10;
        let mut mappings: Vec<_> = [0x10, 0x20, 0x30, 0x40].map(range).into();
        let before = [0x10, 0x30, 0x40].map(range);
        sort(&mut mappings, &[0x45, 0x99], &before);
        assert_eq!(mappings, [0x40, 0x20, 0x10, 0x30].map(range));
    }

    #[test]
    fn own_mappings_are_those_of_this_process() {
        let value = Box::new([7_u64; 64]);
        let at = value.as_ptr() as u64;
        let smaps = std::fs::File::open("/proc/self/smaps").unwrap();
        let found = read(io::BufReader::new(smaps)).unwrap();
        assert!(found.iter().any(|range| range.contains(&at)));
        assert!(found.is_sorted_by_key(|range| range.start));
    }
}
