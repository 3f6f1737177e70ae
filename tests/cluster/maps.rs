//! How many entries the kernel's maps of a process have.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::maps::MapInfo;

/// `BPF_MAP_GET_NEXT_KEY` of `enum bpf_cmd` (include/uapi/linux/bpf.h).
const GET_NEXT_KEY: libc::c_long = 4;
/// `BPF_MAP_TYPE_HASH` and `BPF_MAP_TYPE_LRU_HASH`, as `fdinfo` shows them.
const HASHES: [&str; 2] = ["1", "9"];
/// No map is larger.
const MOST: usize = 100_000;

/// The part of `union bpf_attr` that the command takes.
#[repr(C)]
struct Attribute {
    map: u32,
    _padding: u32,
    key: u64,
    next: u64,
    flags: u64,
}

/// Entries of each hash map that a process holds, by the map's name.
pub(crate) fn entries(pid: u32) -> BTreeMap<String, usize> {
    let folder = format!("/proc/{pid}/fdinfo");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
        };
        let is_hash = field("map_type:").is_some_and(|kind| HASHES.contains(&kind));
        if let Some(id) = field("map_id:")
            .and_then(|id| id.parse().ok())
            .filter(|_| is_hash)
        {
            let info = MapInfo::from_id(id).expect("the map is there");
            let name = info.name_as_str().unwrap_or_default().to_owned();
            found.insert(name, count(&info));
        }
    }
    found
}

fn count(info: &MapInfo) -> usize {
    let fd = info.fd().expect("the map can be opened");
    let size = info.key_size() as usize;
    let (mut key, mut next) = (vec![0_u8; size], vec![0_u8; size]);
    let mut n_entries = 0;
    // The first call has no key; a key that has gone meanwhile begins anew, which the bound ends.
    while n_entries < MOST {
        let attribute = Attribute {
            map: fd.as_fd().as_raw_fd().cast_unsigned(),
            _padding: 0,
            key: if n_entries == 0 {
                0
            } else {
                key.as_ptr() as u64
            },
            next: next.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: bpf(2) reads the attribute and `key`, and writes `next`; both buffers have the map's key size and
        // live across the call.
        let done = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                GET_NEXT_KEY,
                &raw const attribute,
                size_of::<Attribute>(),
            )
        };
        if done != 0 {
            break;
        }
        n_entries += 1;
        std::mem::swap(&mut key, &mut next);
    }
    n_entries
}
