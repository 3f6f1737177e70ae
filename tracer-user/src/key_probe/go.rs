//! `crypto/tls.(*Config).writeKeyLog` of a Go program, by the table of its functions (`.gopclntab`, `debug/gosym`), which
//! the runtime needs, so that it is there in programs without symbols.

use super::image::{Image, Section, find};

const NAME: &[u8] = b"\0crypto/tls.(*Config).writeKeyLog\0";

/// The table of Go 1.20 and later, and of Go 1.18 (`internal/abi`). Before 1.17 arguments were on the stack.
const MAGICS: [u32; 2] = [0xffff_fff1, 0xffff_fff0];

/// Bytes of the table's header, with pointers of 64 bits.
const HEADER: usize = 72;

/// Words of the runtime's `moduledata` from its first one, which points to the table, to the address of the code.
const TEXT: usize = 22;

/// The address of the function; None: it is no Go program, or it has none.
pub(super) fn write_key_log(image: &Image<'_>) -> Option<u64> {
    let table = image
        .section(".gopclntab")
        .or_else(|| image.section(".data.rel.ro.gopclntab"))?;
    let header: [u8; HEADER] = image.bytes(table.offset)?;
    let (magic, rest) = header.split_first_chunk::<4>()?;
    let [_, _, _, pointer, ..] = rest else {
        return None;
    };
    if !MAGICS.contains(&u32::from_le_bytes(*magic)) || *pointer != 8 {
        return None;
    }
    let word = |nth: usize| {
        let bytes = header.get(8 + 8 * nth..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    };
    let (functions, text, names, table_of_functions) = (word(0)?, word(2)?, word(3)?, word(7)?);
    let name = name(image, table, names)?;
    let entry = entry(image, table, (table_of_functions, functions), name)?;
    let text = match text {
        0 => text_of_module(image, table).or_else(|| Some(image.section(".text")?.address))?,
        text => text,
    };
    text.checked_add(entry)
}

/// Where the function's name is among the names.
fn name(image: &Image<'_>, table: Section, names: u64) -> Option<u32> {
    let place = (
        table.offset.checked_add(names)?,
        table.size.checked_sub(names)?,
    );
    let mut found = None;
    image.pieces(place, NAME.len(), |at, bytes, _| {
        found = find(bytes, NAME, 0).map(|here| at + here as u64 + 1);
        found.is_none()
    });
    u32::try_from(found?).ok()
}

/// Where the function with that name begins, from the beginning of the code.
fn entry(image: &Image<'_>, table: Section, (at, functions): (u64, u64), name: u32) -> Option<u64> {
    let start = table.offset.checked_add(at)?;
    let size = functions.checked_mul(8)?.min(table.size);
    // What is told of each function begins with where it begins and its name. They stand one behind the other.
    let told = (start.checked_add(size)?, table.size.checked_sub(at)?);
    let mut found = None;
    let needle = name.to_le_bytes();
    image.pieces(told, 8, |at, bytes, own| {
        let mut from = 4;
        while let Some(here) = find(bytes, &needle, from).filter(|here| *here < own + 4) {
            from = here + 1;
            let entry = here.checked_sub(4).and_then(|at| bytes.get(at..));
            let entry = entry.and_then(<[u8]>::first_chunk);
            let Some(entry) = entry.map(|entry| u32::from_le_bytes(*entry)) else {
                continue;
            };
            let told_at = size + at + here as u64 - 4;
            if is_listed(image, (start, functions), (entry, told_at)) {
                found = Some(u64::from(entry));
                return false;
            }
        }
        true
    });
    found
}

/// The list of functions, which is sorted by where they begin, has this one, and says that it is told of there.
fn is_listed(
    image: &Image<'_>,
    (start, functions): (u64, u64),
    (entry, told_at): (u32, u64),
) -> bool {
    let (mut low, mut high) = (0, functions);
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(pair) = image.bytes::<8>(start + 8 * middle) else {
            return false;
        };
        let [a, b, c, d, told @ ..] = pair;
        let here = u32::from_le_bytes([a, b, c, d]);
        match here.cmp(&entry) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => return u64::from(u32::from_le_bytes(told)) == told_at,
        }
    }
    false
}

/// Where the code begins, by what the runtime knows of itself. (Since Go 1.26 the table does not say it.)
fn text_of_module(image: &Image<'_>, table: Section) -> Option<u64> {
    const WORDS: usize = TEXT + 2;
    let pointer = table.address.to_le_bytes();
    let mut found = None;
    for segment in image.segments.iter().filter(|segment| !segment.is_code) {
        let place = (segment.offset, segment.size);
        image.pieces(place, 8 * WORDS, |_, bytes, own| {
            let mut from = 0;
            while let Some(at) = find(bytes, &pointer, from).filter(|at| *at < own) {
                from = at + 1;
                let word = |nth: usize| {
                    let bytes = bytes.get(at + 8 * nth..)?.first_chunk()?;
                    Some(u64::from_le_bytes(*bytes))
                };
                // The first function's address stands before it, the end of the code behind it.
                let (Some(first), Some(text), Some(end)) =
                    (word(TEXT - 2), word(TEXT), word(TEXT + 1))
                else {
                    continue;
                };
                if text <= first && first < end && image.code_offset(text).is_some() {
                    found = Some(text);
                    return false;
                }
            }
            true
        });
        if found.is_some() {
            break;
        }
    }
    found
}
