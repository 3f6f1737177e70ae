//! A program's file, as far as it is looked at: where its parts are, and their bytes, piece by piece.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use object::LittleEndian;
use object::elf::{ET_EXEC, FileHeader64, PF_X, PT_LOAD};
use object::read::ReadCache;
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// Bytes that are read of one file at most: of each byte of the largest programs there are, and a few over.
const MOST: u64 = 1 << 30;

/// Parts of a file that are looked at.
const PARTS: usize = 4_096;

/// The processors whose code is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    X86,
    Arm,
}

/// A part of the file that is brought to a place in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) is_code: bool,
}

impl Segment {
    const fn has(&self, address: u64) -> bool {
        address >= self.address && address - self.address < self.size
    }
}

/// A part of the file that has a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// A program or a library.
pub(super) struct Image<'a> {
    file: &'a File,
    left: std::cell::Cell<u64>,
    pub(super) machine: Machine,
    /// It is always at the addresses that the file says.
    pub(super) is_fixed: bool,
    pub(super) segments: Vec<Segment>,
    sections: Vec<(Vec<u8>, Section)>,
}

impl<'a> Image<'a> {
    /// None: it is no program of such a machine.
    pub(super) fn open(file: &'a File) -> Option<Image<'a>> {
        let cache = ReadCache::new(file);
        let header = FileHeader64::<LittleEndian>::parse(&cache).ok()?;
        let endian = header.endian().ok()?;
        let machine = match header.e_machine(endian) {
            object::elf::EM_X86_64 => Machine::X86,
            object::elf::EM_AARCH64 => Machine::Arm,
            _ => return None,
        };
        let loaded = header.program_headers(endian, &cache).ok()?.iter();
        let loaded = loaded.filter(|part| part.p_type(endian) == PT_LOAD);
        let segments = loaded.take(PARTS).map(|part| Segment {
            address: part.p_vaddr(endian),
            offset: part.p_offset(endian),
            size: part.p_filesz(endian),
            is_code: part.p_flags(endian) & PF_X != 0,
        });
        let segments: Vec<Segment> = segments.collect();
        let mut sections = Vec::new();
        // A program runs without them.
        if let Ok(table) = header.sections(endian, &cache) {
            for section in table.iter().take(PARTS) {
                let Ok(name) = table.section_name(endian, section) else {
                    continue;
                };
                let place = Section {
                    address: section.sh_addr(endian),
                    offset: section.sh_offset(endian),
                    size: section.sh_size(endian),
                };
                sections.push((name.to_vec(), place));
            }
        }
        Some(Image {
            file,
            left: std::cell::Cell::new(MOST),
            machine,
            is_fixed: header.e_type(endian) == ET_EXEC,
            segments,
            sections,
        })
    }

    pub(super) fn section(&self, name: &str) -> Option<Section> {
        let mut sections = self.sections.iter();
        let (_, section) = sections.find(|(of, _)| of == name.as_bytes())?;
        Some(*section)
    }

    /// Where in the file the byte is that comes to stand at an address; None: it is not in the file, or no code.
    pub(super) fn code_offset(&self, address: u64) -> Option<u64> {
        let mut code = self.segments.iter().filter(|segment| segment.is_code);
        let segment = code.find(|segment| segment.has(address))?;
        segment.offset.checked_add(address - segment.address)
    }

    /// Bytes of the file; fewer where it ends.
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> usize {
        let wanted = bytes.len() as u64;
        let Some(left) = self.left.get().checked_sub(wanted) else {
            return 0;
        };
        self.left.set(left);
        let mut have = 0;
        while let Some(rest) = bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(have as u64)) {
                Ok(n) if n > 0 => have += n,
                _ => break,
            }
        }
        have
    }

    /// So many bytes of the file, all of them.
    pub(super) fn bytes<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (self.read(offset, &mut bytes) == N).then_some(bytes)
    }

    /// Hands on what is in a part of the file, in pieces, each with `overlap` bytes of the next one behind it. `each`
    /// gets the offset within the part, the bytes, and how many of them are the piece's own; it says whether to go on.
    pub(super) fn pieces(
        &self,
        (offset, size): (u64, u64),
        overlap: usize,
        mut each: impl FnMut(u64, &[u8], usize) -> bool,
    ) {
        let mut buffer = vec![0; PIECE + overlap];
        let mut at = 0;
        while at < size {
            let left = usize::try_from(size - at).unwrap_or(usize::MAX);
            let space = buffer.get_mut(..left.min(PIECE + overlap));
            let n = self.read(offset.saturating_add(at), space.unwrap_or_default());
            let own = n.min(PIECE);
            if n == 0 || !each(at, buffer.get(..n).unwrap_or_default(), own) {
                return;
            }
            at += own as u64;
        }
    }
}

/// Where `needle` is in `bytes`, from `from` on.
pub(super) fn find(bytes: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    if needle.is_empty() || rest.len() < needle.len() {
        return None;
    }
    // The C library's, which is fast whatever this program was compiled like.
    // SAFETY: both are as long as is said.
    let at = unsafe {
        libc::memmem(
            rest.as_ptr().cast(),
            rest.len(),
            needle.as_ptr().cast(),
            needle.len(),
        )
    };
    (!at.is_null()).then(|| from + (at as usize - rest.as_ptr() as usize))
}

/// Where `byte` is in `bytes`, from `from` on.
pub(super) fn find_byte(bytes: &[u8], byte: u8, from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    // SAFETY: it is as long as is said.
    let at = unsafe { libc::memchr(rest.as_ptr().cast(), i32::from(byte), rest.len()) };
    (!at.is_null()).then(|| from + (at as usize - rest.as_ptr() as usize))
}
