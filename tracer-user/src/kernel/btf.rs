//! Reads what is needed of the kernel's BTF: offsets of struct members, and which tracepoints exist.
//!
//! Format: Documentation/bpf/btf.rst of the kernel. The Rust BPF toolchain emits no CO-RE relocations,
//! so user space finds the offsets and the kernel programs get them as constants.

use std::collections::{HashMap, HashSet};

use tracer_ebpf::config::{NO_FIELD, Offsets};

/// Where the kernel shows its own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Why BTF could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The kernel was built without CONFIG_DEBUG_INFO_BTF, or /sys is not mounted.
    #[error("cannot read {VMLINUX} (h2trace needs a kernel built with CONFIG_DEBUG_INFO_BTF=y)")]
    Unreadable(#[from] std::io::Error),
    /// The data is not what the format says.
    #[error("{VMLINUX} is malformed at byte {0}")]
    Malformed(usize),
}

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Anonymous members may nest; the kernel's do so three deep.
const NESTING_MAX: u32 = 16;

/// The kernel's types.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    /// Position of each type's record, by id. Id 0 is void.
    types: Vec<usize>,
    /// Ids of structs by name, of those in `STRUCTS`.
    structs: HashMap<String, Vec<u32>>,
    tracepoints: HashSet<String>,
}

/// The structs that [`Btf::offsets`] asks for.
const STRUCTS: [&str; 15] = [
    "sock",
    "net",
    "socket",
    "file",
    "inode",
    "tcp_sock",
    "unix_sock",
    "unix_address",
    "pt_regs",
    "task_struct",
    "signal_struct",
    "files_struct",
    "fdtable",
    "sock_common",
    "ns_common",
];

impl Btf {
    /// Reads [`VMLINUX`].
    ///
    /// # Errors
    /// It is not there, or malformed.
    pub fn of_kernel() -> Result<Btf, BtfError> {
        Btf::parse(std::fs::read(VMLINUX)?)
    }

    /// Parses a BTF blob.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parse(data: Vec<u8>) -> Result<Btf, BtfError> {
        let word = |at: usize| u32_at(&data, at).ok_or(BtfError::Malformed(at));
        if data.get(..2) != Some(&MAGIC.to_le_bytes()[..]) {
            return Err(BtfError::Malformed(0));
        }
        let header = word(4)? as usize;
        let start = header + word(8)? as usize;
        let end = start + word(12)? as usize;
        let strings = header + word(16)? as usize;
        let mut btf = Btf {
            types: vec![0],
            structs: HashMap::new(),
            tracepoints: HashSet::new(),
            strings,
            data: Vec::new(),
        };
        let mut at = start;
        while at < end {
            let (name, info) = (word(at)?, word(at + 4)?);
            let kind = info >> 24 & 0x1f;
            let n = (info & 0xffff) as usize;
            let id = u32::try_from(btf.types.len()).map_err(|_| BtfError::Malformed(at))?;
            btf.types.push(at);
            if matches!(kind, KIND_STRUCT | KIND_UNION) || kind == KIND_TYPEDEF {
                let name = string_at(&data, strings, name).unwrap_or_default();
                if kind == KIND_TYPEDEF {
                    if let Some(tracepoint) = name.strip_prefix("btf_trace_") {
                        btf.tracepoints.insert(tracepoint.to_owned());
                    }
                } else if STRUCTS.contains(&name) {
                    btf.structs.entry(name.to_owned()).or_default().push(id);
                }
            }
            at += 12
                + match kind {
                    KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * n,
                    KIND_ENUM | KIND_FUNC_PROTO => 8 * n,
                    _ => 0,
                };
        }
        btf.data = data;
        Ok(btf)
    }

    /// Does this tracepoint exist (typedef `btf_trace_NAME`)?
    #[must_use]
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.tracepoints.contains(name)
    }

    /// Byte offset of a member, as `__sk_common.skc_family`; members of anonymous structs and unions
    /// are found as in C. None when the struct or the member is not there, or a bit field.
    #[must_use]
    pub fn offset_of(&self, name: &str, path: &str) -> Option<u32> {
        self.structs
            .get(name)?
            .iter()
            .find_map(|&id| self.follow(id, path))
    }

    fn follow(&self, id: u32, path: &str) -> Option<u32> {
        let mut id = id;
        let mut bits = 0;
        for part in path.split('.') {
            let (offset, member) = self.member(self.resolve(id)?, part, 0)?;
            bits += offset;
            id = member;
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// Offset in bits and type of a member.
    fn member(&self, id: u32, name: &str, depth: u32) -> Option<(u32, u32)> {
        let at = *self.types.get(id as usize)?;
        let info = u32_at(&self.data, at + 4)?;
        let kind = info >> 24 & 0x1f;
        if depth > NESTING_MAX || !matches!(kind, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        for index in 0..(info & 0xffff) as usize {
            let member = at + 12 + 12 * index;
            let (member_name, member_type, mut offset) = (
                u32_at(&self.data, member)?,
                u32_at(&self.data, member + 4)?,
                u32_at(&self.data, member + 8)?,
            );
            if info >> 31 != 0 {
                offset &= 0x00ff_ffff;
            }
            if member_name == 0 {
                if let Some((inner, found)) =
                    self.member(self.resolve(member_type)?, name, depth + 1)
                {
                    return Some((offset + inner, found));
                }
            } else if string_at(&self.data, self.strings, member_name) == Some(name) {
                return Some((offset, member_type));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, id: u32) -> Option<u32> {
        let mut id = id;
        for _ in 0..NESTING_MAX {
            let at = *self.types.get(id as usize)?;
            let kind = u32_at(&self.data, at + 4)? >> 24 & 0x1f;
            if !matches!(
                kind,
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG
            ) {
                return Some(id);
            }
            id = u32_at(&self.data, at + 8)?;
        }
        None
    }

    /// The offsets that the kernel programs use; a member that this kernel does not have is
    /// [`NO_FIELD`].
    #[must_use]
    pub fn offsets(&self) -> Offsets {
        let mut offsets = Offsets::NONE;
        for field in FIELDS {
            *(field.of)(&mut offsets) = self
                .offset_of(field.container, field.path)
                .map_or(NO_FIELD, |o| o + field.add);
        }
        offsets
    }
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at.checked_add(4)?)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}

fn string_at(data: &[u8], strings: usize, offset: u32) -> Option<&str> {
    let rest = data.get(strings.checked_add(offset as usize)?..)?;
    let len = rest.iter().position(|&b| b == 0)?;
    std::str::from_utf8(rest.get(..len)?).ok()
}

/// One member that the kernel programs read.
pub struct Field {
    /// Its struct.
    pub container: &'static str,
    /// Its path within it.
    pub path: &'static str,
    /// Bytes behind the member's beginning (elements of an array).
    pub add: u32,
    /// Without it nothing can be traced. Otherwise something is merely unknown.
    pub needed: bool,
    /// Its place in [`Offsets`].
    pub of: fn(&mut Offsets) -> &mut u32,
}

macro_rules! field {
    ($container:literal, $path:literal, $of:ident, $needed:literal) => {
        field!($container, $path, $of, $needed, 0)
    };
    ($container:literal, $path:literal, $of:ident, $needed:literal, $add:literal) => {
        Field {
            container: $container,
            path: $path,
            add: $add,
            needed: $needed,
            of: |offsets| &mut offsets.$of,
        }
    };
}

/// Every member that the kernel programs read.
pub const FIELDS: &[Field] = &[
    field!("sock", "__sk_common.skc_family", sock_family, true),
    field!("sock", "__sk_common.skc_state", sock_state, true),
    field!("sock", "__sk_common.skc_daddr", sock_daddr, true),
    field!("sock", "__sk_common.skc_rcv_saddr", sock_rcv_saddr, true),
    field!("sock", "__sk_common.skc_dport", sock_dport, true),
    field!("sock", "__sk_common.skc_num", sock_num, true),
    field!("sock", "__sk_common.skc_v6_daddr", sock_v6_daddr, false),
    field!(
        "sock",
        "__sk_common.skc_v6_rcv_saddr",
        sock_v6_rcv_saddr,
        false
    ),
    field!("sock", "__sk_common.skc_net.net", sock_net, false),
    field!("net", "ns.inum", net_inum, false),
    field!("sock", "sk_type", sock_type, true),
    field!("sock", "sk_protocol", sock_protocol, true),
    field!("sock", "sk_socket", sock_socket, true),
    field!("socket", "file", socket_file, true),
    field!("socket", "sk", socket_sk, true),
    field!("file", "f_inode", file_inode, true),
    field!("file", "private_data", file_private_data, true),
    field!("inode", "i_mode", inode_mode, true),
    field!("inode", "i_ino", inode_ino, true),
    field!("tcp_sock", "write_seq", tcp_write_seq, false),
    field!("tcp_sock", "copied_seq", tcp_copied_seq, false),
    field!("tcp_sock", "bytes_received", tcp_bytes_received, false),
    field!("tcp_sock", "bytes_acked", tcp_bytes_acked, false),
    field!("tcp_sock", "snd_una", tcp_snd_una, false),
    field!("tcp_sock", "rcv_nxt", tcp_rcv_nxt, false),
    field!("unix_sock", "peer", unix_peer, false),
    field!("unix_sock", "addr", unix_addr, false),
    field!("unix_address", "len", unix_address_len, false),
    field!("unix_address", "name", unix_address_name, false),
    #[cfg(target_arch = "x86_64")]
    field!("pt_regs", "orig_ax", regs_nr, true),
    #[cfg(target_arch = "x86_64")]
    field!("pt_regs", "di", regs_arg0, true),
    #[cfg(target_arch = "x86_64")]
    field!("pt_regs", "si", regs_arg1, true),
    #[cfg(target_arch = "x86_64")]
    field!("pt_regs", "dx", regs_arg2, true),
    #[cfg(target_arch = "x86_64")]
    field!("pt_regs", "r10", regs_arg3, true),
    #[cfg(target_arch = "x86_64")]
    field!("pt_regs", "r8", regs_arg4, true),
    #[cfg(target_arch = "x86_64")]
    field!("pt_regs", "ax", regs_result, true),
    #[cfg(target_arch = "x86_64")]
    field!("task_struct", "thread_info.status", task_status, false),
    #[cfg(target_arch = "x86_64")]
    field!("pt_regs", "cs", regs_mode, false),
    #[cfg(target_arch = "aarch64")]
    field!("pt_regs", "syscallno", regs_nr, true),
    #[cfg(target_arch = "aarch64")]
    field!("pt_regs", "orig_x0", regs_arg0, true),
    #[cfg(target_arch = "aarch64")]
    field!("pt_regs", "regs", regs_arg1, true, 8),
    #[cfg(target_arch = "aarch64")]
    field!("pt_regs", "regs", regs_arg2, true, 16),
    #[cfg(target_arch = "aarch64")]
    field!("pt_regs", "regs", regs_arg3, true, 24),
    #[cfg(target_arch = "aarch64")]
    field!("pt_regs", "regs", regs_arg4, true, 32),
    #[cfg(target_arch = "aarch64")]
    field!("pt_regs", "regs", regs_result, true),
    #[cfg(target_arch = "aarch64")]
    field!("pt_regs", "pstate", regs_mode, false),
    field!("task_struct", "tgid", task_tgid, false),
    field!("task_struct", "signal", task_signal, false),
    field!("signal_struct", "live", signal_live, false),
    field!("task_struct", "files", task_files, true),
    field!("task_struct", "io_uring", task_io_uring, false),
    field!("task_struct", "flags", task_flags, false),
    field!("task_struct", "ptrace", task_ptrace, false),
    field!("files_struct", "fdt", files_fdt, true),
    field!("fdtable", "fd", fdtable_fd, true),
];

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A kernel that has these tracepoints.
    pub(in super::super) fn with_tracepoints(names: &[&str]) -> Btf {
        let names: Vec<String> = names
            .iter()
            .map(|name| format!("btf_trace_{name}"))
            .collect();
        let types: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), KIND_TYPEDEF << 24, 0, &[][..]))
            .collect();
        Btf::parse(blob(&types)).unwrap()
    }

    type Member<'a> = (&'a str, u32, u32);

    /// Builds a blob from (name, info, size, members) records.
    fn blob(types: &[(&str, u32, u32, &[Member<'_>])]) -> Vec<u8> {
        let mut strings = vec![0u8];
        let mut intern = |name: &str| {
            if name.is_empty() {
                return 0;
            }
            let at = strings.len() as u32;
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
            at
        };
        let mut body = Vec::new();
        for (name, info, size, members) in types {
            for word in [intern(name), *info, *size] {
                body.extend_from_slice(&word.to_le_bytes());
            }
            for (name, kind, offset) in *members {
                for word in [intern(name), *kind, *offset] {
                    body.extend_from_slice(&word.to_le_bytes());
                }
            }
        }
        let mut data = vec![0x9f, 0xeb, 1, 0];
        for word in [
            24,
            0,
            body.len() as u32,
            body.len() as u32,
            strings.len() as u32,
        ] {
            data.extend_from_slice(&word.to_le_bytes());
        }
        data.extend(body);
        data.extend(strings);
        data
    }

    #[test]
    fn members_of_anonymous_unions_are_found_with_their_whole_offset() {
        let data = blob(&[
            ("", KIND_UNION << 24 | 1, 4, &[("skc_daddr", 0, 32)]),
            (
                "sock_common",
                KIND_STRUCT << 24 | 2,
                16,
                &[("skc_family", 0, 0), ("", 1, 64)],
            ),
            ("alias", KIND_TYPEDEF << 24, 2, &[]),
            (
                "sock",
                KIND_STRUCT << 24 | 1,
                64,
                &[("__sk_common", 3, 128)],
            ),
            ("btf_trace_sock_send_length", KIND_TYPEDEF << 24, 0, &[]),
        ]);
        let btf = Btf::parse(data).unwrap();
        assert_eq!(
            btf.offset_of("sock", "__sk_common.skc_daddr"),
            Some(16 + 8 + 4)
        );
        assert_eq!(btf.offset_of("sock", "__sk_common.skc_state"), None);
        assert_eq!(btf.offset_of("net", "ns.inum"), None);
        assert!(btf.has_tracepoint("sock_send_length"));
        assert!(!btf.has_tracepoint("sock_recv_length"));
        assert_eq!(btf.offsets().sock_daddr, 28);
        assert_eq!(btf.offsets().net_inum, NO_FIELD);
    }

    #[test]
    fn every_prefix_of_a_blob_is_refused_or_read_without_panic() {
        let data = blob(&[(
            "sock",
            KIND_STRUCT << 24 | 2,
            64,
            &[("sk_type", 0, 16), ("sk_protocol", 0, 32)],
        )]);
        for len in 0..data.len() {
            if let Ok(btf) = Btf::parse(data[..len].to_vec()) {
                assert!(btf.offset_of("sock", "sk_type").is_none_or(|o| o == 2));
            }
        }
        assert_eq!(
            Btf::parse(data).unwrap().offset_of("sock", "sk_protocol"),
            Some(4)
        );
    }

    #[test]
    fn the_running_kernel_has_every_needed_field() {
        let Ok(btf) = Btf::of_kernel() else {
            println!("skipped: no {VMLINUX}");
            return;
        };
        for field in FIELDS.iter().filter(|f| f.needed) {
            assert!(
                btf.offset_of(field.container, field.path).is_some(),
                "{}.{}",
                field.container,
                field.path
            );
        }
    }
}
