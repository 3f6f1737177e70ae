//! Which function of a program is called with each secret of a handshake, symbols or not.
//!
//! What such a function gets is what a line of a key log has: the label, and the secret. In C, as BoringSSL, OpenSSL 3
//! and those that come of them write it, the labels are texts to which the code refers just before it calls the
//! function, so the one that most of the labels go to is the one. In Go its name is in the table that every program has
//! for its own use.

use std::collections::BTreeMap;
use std::fs::File;

use tracer_ebpf::secret::{Layout, NO_REGISTER};

use super::go;
use super::image::{Image, Machine, find, find_byte};

/// Where the function is, and how it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Offset in the file.
    pub offset: u64,
    /// Where its arguments are.
    pub layout: Layout,
}

/// The labels. (NSS's key log format; the last one is asked for by nobody, but tells the function apart.)
const LABELS: [&str; 7] = [
    "CLIENT_RANDOM",
    "CLIENT_EARLY_TRAFFIC_SECRET",
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "SERVER_TRAFFIC_SECRET_0",
    "EXPORTER_SECRET",
];

/// A function gets so many labels at least: OpenSSL 3 names the others somewhere else.
const LEAST: u32 = 2;

/// Copies of one label in a program.
const COPIES: usize = 16;

/// Bytes from where a label is named to the call.
const NEAR: usize = 128;

/// Bytes that an instruction with an address has at most, before and behind the byte by which it is found.
const AROUND: usize = 16;

/// The function, if there is one.
#[must_use]
pub fn find_site(file: &File) -> Option<Site> {
    let image = Image::open(file)?;
    if let Some(address) = go::write_key_log(&image) {
        let offset = image.code_offset(address)?;
        let layout = of_go(image.machine);
        return Some(Site { offset, layout });
    }
    let labels = labels(&image);
    if labels.len() < LEAST as usize {
        return None;
    }
    let mut calls = Calls::default();
    for code in image.segments.iter().filter(|segment| segment.is_code) {
        let place = (code.offset, code.size);
        image.pieces(place, NEAR + AROUND, |at, bytes, own| {
            let address = code.address.saturating_add(at);
            match image.machine {
                Machine::X86 => x86(&image, &labels, (address, bytes, own), &mut calls),
                Machine::Arm => arm(&image, &labels, (address, bytes, own), &mut calls),
            }
            true
        });
    }
    let offset = image.code_offset(calls.most_labels()?)?;
    let layout = of_c(image.machine);
    Some(Site { offset, layout })
}

/// (ssl, label, secret, its length), by the places of the registers in `struct pt_regs`.
const fn of_c(machine: Machine) -> Layout {
    let [owner, label, secret, secret_len] = match machine {
        // di, si, dx, cx
        Machine::X86 => [14, 13, 12, 11],
        Machine::Arm => [0, 1, 2, 3],
    };
    Layout {
        owner,
        label,
        label_len: NO_REGISTER,
        secret,
        secret_len,
        random: NO_REGISTER,
    }
}

/// (config, label and its length, random with length and capacity, secret likewise).
const fn of_go(machine: Machine) -> Layout {
    let [owner, label, label_len, random, secret, secret_len] = match machine {
        // ax, bx, cx, di, (si, r8,) r9, r10
        Machine::X86 => [10, 5, 11, 14, 8, 7],
        Machine::Arm => [0, 1, 2, 3, 6, 7],
    };
    Layout {
        owner,
        label,
        label_len,
        secret,
        secret_len,
        random,
    }
}

/// Where labels are in memory, sorted, each with its place in [`LABELS`].
fn labels(image: &Image<'_>) -> Vec<(u64, usize)> {
    let longest = LABELS.iter().map(|label| label.len()).max().unwrap_or(0) + 1;
    let mut found = Vec::new();
    for segment in &image.segments {
        let place = (segment.offset, segment.size);
        image.pieces(place, longest, |at, bytes, own| {
            for (nth, label) in LABELS.iter().enumerate() {
                let needle = [label.as_bytes(), b"\0"].concat();
                let mut from = 0;
                while let Some(here) = find(bytes, &needle, from).filter(|here| *here < own) {
                    found.push((segment.address.saturating_add(at + here as u64), nth));
                    from = here + 1;
                }
            }
            true
        });
    }
    found.sort_unstable();
    for nth in 0..LABELS.len() {
        let mut left = COPIES;
        found.retain(|(_, of)| {
            let is_kept = *of != nth || left > 0;
            left = left.saturating_sub(usize::from(*of == nth));
            is_kept
        });
    }
    found
}

fn label_at(labels: &[(u64, usize)], address: u64) -> Option<usize> {
    let at = labels.binary_search_by_key(&address, |(at, _)| *at).ok()?;
    labels.get(at).map(|(_, nth)| *nth)
}

/// Functions, and the labels that they get.
#[derive(Default)]
struct Calls(BTreeMap<u64, u32>);

impl Calls {
    fn add(&mut self, function: u64, label: usize) {
        *self.0.entry(function).or_default() |= 1 << label;
    }

    /// The one that gets more of them than any other, and enough.
    fn most_labels(&self) -> Option<u64> {
        let count = |labels: &u32| labels.count_ones();
        let most = self.0.values().map(count).max()?;
        let mut such = self.0.iter().filter(|(_, labels)| count(labels) == most);
        let (function, _) = such.next().filter(|_| most >= LEAST)?;
        such.next().is_none().then_some(*function)
    }
}

/// x86-64: `lea` relative to the instruction, or, where addresses are fixed, `mov` of the address; then `call`.
fn x86(
    image: &Image<'_>,
    labels: &[(u64, usize)],
    (address, bytes, own): (u64, &[u8], usize),
    calls: &mut Calls,
) {
    const LEA: u8 = 0x8d;
    // To esi.
    const MOV: u8 = 0xbe;
    let mut from = 0;
    while let Some(at) = find_byte(bytes, LEA, from).filter(|at| *at < own) {
        from = at + 1;
        let Some(target) = x86_lea(bytes, at, address) else {
            continue;
        };
        if let Some(label) = label_at(labels, target) {
            x86_call(image, (address, bytes, at + 6), label, calls);
        }
    }
    if !image.is_fixed {
        return;
    }
    for (label_address, label) in labels {
        let Ok(short) = u32::try_from(*label_address) else {
            continue;
        };
        let mut from = 1;
        while let Some(at) = find(bytes, &short.to_le_bytes(), from).filter(|at| *at <= own) {
            from = at + 1;
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            if before == Some(&MOV) {
                x86_call(image, (address, bytes, at + 4), *label, calls);
            }
        }
    }
}

/// What a `lea` whose opcode is at `at` refers to, if it makes a second argument.
fn x86_lea(bytes: &[u8], at: usize, address: u64) -> Option<u64> {
    let prefix = bytes.get(at.checked_sub(1)?)?;
    let modrm = bytes.get(at + 1)?;
    // Into rsi: what goes elsewhere is not for the next call.
    if *prefix != 0x48 || *modrm != 0x35 {
        return None;
    }
    let far = i32::from_le_bytes(*bytes.get(at + 2..)?.first_chunk()?);
    let next = address.checked_add(at as u64 + 6)?;
    next.checked_add_signed(i64::from(far))
}

/// The first call at or behind `from` gets the label.
fn x86_call(
    image: &Image<'_>,
    (address, bytes, from): (u64, &[u8], usize),
    label: usize,
    calls: &mut Calls,
) {
    const CALL: u8 = 0xe8;
    for at in from..from + NEAR {
        if bytes.get(at) != Some(&CALL) {
            continue;
        }
        let Some(far) = bytes.get(at + 1..).and_then(<[u8]>::first_chunk) else {
            return;
        };
        let next = address.saturating_add(at as u64 + 5);
        let function = next.checked_add_signed(i64::from(i32::from_le_bytes(*far)));
        if let Some(function) = function.filter(|to| image.code_offset(*to).is_some()) {
            return calls.add(function, label);
        }
    }
}

/// arm64: `adrp` and `add`, then `bl`.
fn arm(
    image: &Image<'_>,
    labels: &[(u64, usize)],
    (address, bytes, own): (u64, &[u8], usize),
    calls: &mut Calls,
) {
    let (words, _) = bytes.as_chunks::<4>();
    let word = |nth: usize| words.get(nth).copied().map(u32::from_le_bytes);
    for nth in 0..own / 4 {
        let Some(page) = word(nth).and_then(|word| adrp(word, address + 4 * nth as u64)) else {
            continue;
        };
        let added = (1..=4).find_map(|more| add(word(nth + more)?, page).map(|to| (more, to)));
        let Some((more, target)) = added else {
            continue;
        };
        let Some(label) = label_at(labels, target) else {
            continue;
        };
        let behind = nth + more + 1;
        let call = (behind..behind + NEAR / 4).find_map(|at| {
            let far = bl(word(at)?)?;
            (address + 4 * at as u64).checked_add_signed(far)
        });
        if let Some(function) = call.filter(|to| image.code_offset(*to).is_some()) {
            calls.add(function, label);
        }
    }
}

/// The register of an `adrp`, and its page.
const fn adrp(word: u32, address: u64) -> Option<(u32, u64)> {
    if word & 0x9f00_0000 != 0x9000_0000 {
        return None;
    }
    let pages = ((word >> 5 & 0x7_ffff) << 2) | (word >> 29 & 3);
    // 21 bits with a sign.
    let pages = ((pages << 11) as i32 >> 11) as i64;
    let page = (address & !0xfff).wrapping_add_signed(pages << 12);
    Some((word & 31, page))
}

/// What an `add` of a number to that register makes of it, if that is a second argument.
const fn add(word: u32, (register, page): (u32, u64)) -> Option<u64> {
    // To x1: what goes elsewhere is not for the next call.
    if word & 0xffc0_001f != 0x9100_0001 || word >> 5 & 31 != register {
        return None;
    }
    Some(page.wrapping_add((word >> 10 & 0xfff) as u64))
}

/// How far a `bl` goes.
const fn bl(word: u32) -> Option<i64> {
    if word & 0xfc00_0000 != 0x9400_0000 {
        return None;
    }
    Some((((word << 6) as i32 >> 6) as i64) * 4)
}

#[cfg(test)]
#[path = "finder_tests.rs"]
mod tests;
