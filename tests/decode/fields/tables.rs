//! What fills, resizes and overflows the dynamic table.

use super::{BASE64, Block, ENTRY_OVERHEAD, Field, Numbers, block, field, request, secret};

/// More distinct fields than a table holds, and some of them again: still in it, or just no longer.
pub(super) fn distinct() -> Vec<Block> {
    let entry = |n: usize| {
        let value = format!("value-{n}-{}", "y".repeat(n % 23));
        field(&format!("x-name-{}", n % 40), value)
    };
    let one = |n: usize| {
        let mut fields: Vec<Field> = (n * 6..n * 6 + 6).map(entry).collect();
        for back in [1, 6, 20, 50, 55, 60, 65, 70, 90] {
            if let Some(before) = (n * 6).checked_sub(back) {
                fields.push(entry(before));
            }
        }
        block(fields)
    };
    (0..60).map(one).collect()
}

/// Anything after anything.
pub(super) fn random() -> Vec<Block> {
    let mut numbers = Numbers(8);
    let names = [
        ":path",
        ":authority",
        "accept",
        "age",
        "cookie",
        "date",
        "etag",
        "host",
        "range",
        "via",
        "x-a",
        "x-b",
        "x-c",
        "x-long-name-of-a-field-that-nobody-knows",
        "grpc-status",
        "te",
        "content-length",
        "www-authenticate",
    ];
    let values = [
        "",
        "0",
        "1",
        "trailers",
        "/",
        "no-cache",
        "text/plain",
        "Thu, 01 Jan 1970 00:00:00 GMT",
    ];
    let mut one = || {
        let name = numbers.pick(&names);
        let value = match numbers.below(4) {
            0 | 1 => numbers.pick(&values).to_owned(),
            2 => format!("{}", numbers.below(40)),
            _ => {
                let len = numbers.below(150);
                numbers.text(BASE64, len)
            }
        };
        Field {
            secret: numbers.below(8) == 0,
            ..field(name, value)
        }
    };
    let blocks = (0..80).map(|n| {
        let mut fields: Vec<Field> = (0..1 + n % 12).map(|_| one()).collect();
        // RFC 9113 section 8.3: pseudo-header fields come first, and some encoders see to it.
        fields.sort_by_key(|field| !field.name.starts_with(b":"));
        block(fields)
    });
    blocks.collect()
}

/// The table grows, shrinks and goes away, also several times between two blocks.
pub(super) fn sizes() -> Vec<Block> {
    resized(&|n| {
        vec![
            field("x-stays", "the same in every block"),
            field("x-turns", format!("{}", n % 3)),
            field("x-new", format!("{n}-{}", "z".repeat(n % 50))),
            field("accept-language", "en"),
        ]
    })
}

pub(super) fn requests_sizes() -> Vec<Block> {
    resized(&|n| {
        let mut fields = request("POST", "orders:50051", "/shop.Orders/Get");
        fields.push(field("x-call-id", format!("c-{n}")));
        fields.push(field("x-stays", "the same in every block"));
        fields
    })
}

/// Four blocks at each of many sizes.
fn resized(fields: &dyn Fn(usize) -> Vec<Field>) -> Vec<Block> {
    let steps: [&[u32]; 16] = [
        &[],
        &[0],
        &[65_536],
        &[256],
        // Down and up again at once: RFC 7541 section 4.2 wants both told.
        &[0, 4_096],
        &[100, 300],
        &[300],
        &[4_096, 128],
        &[65_536, 0, 200, 1_000],
        &[31],
        &[32],
        &[30, 62],
        &[286],
        &[16_384],
        &[0],
        &[4_096],
    ];
    let mut blocks = Vec::new();
    for tables in steps {
        for i in 0..4 {
            let mut block = block(fields(blocks.len()));
            if i == 0 {
                block.tables = tables.to_vec();
            }
            blocks.push(block);
        }
    }
    blocks
}

/// Entries that fill the table to the last octet, one less, one more.
pub(super) fn brim() -> Vec<Block> {
    let sized = |name: &str, size: usize, fill: char| {
        let len = size - ENTRY_OVERHEAD - name.len();
        field(name, fill.to_string().repeat(len))
    };
    let mut blocks = Vec::new();
    for table in [64, 128, 256, 1_024, 4_096, 16_384] {
        let size = table as usize;
        let begins = blocks.len();
        for entry in [size - 1, size, size + 1] {
            // It, and it again; what is too large empties the table (RFC 7541 section 4.4).
            for _ in 0..2 {
                let brim = sized("x-brim", entry, 'b');
                blocks.push(block(vec![field("x-s", ""), brim.clone()]));
                blocks.push(block(vec![brim]));
            }
        }
        if size >= 256 {
            // Four fill it; a fifth takes the place of the first, and of it alone.
            let quarters = |fills: &str| {
                let quarter = |fill| sized("x-q", size / 4, fill);
                block(fills.chars().map(quarter).collect())
            };
            blocks.extend(["abcd", "abcd", "e", "bcde", "a"].map(quarters));
            // One octet more than the room of one: two have to go.
            blocks.push(block(vec![sized("x-q", size / 4 + 1, 'f')]));
            blocks.push(quarters("abcd"));
        }
        blocks[begins].tables = vec![table];
    }
    blocks
}

/// For a table of 65,536: indices that take three octets, names far back.
pub(super) fn deep() -> Vec<Block> {
    const ENTRIES: usize = 1_200;
    let entry = |n: usize| field(&format!("x-{n}"), format!("{n}"));
    let mut blocks: Vec<Block> = (0..ENTRIES)
        .step_by(40)
        .map(|first| block((first..first + 40).map(entry).collect()))
        .collect();
    for back in [
        1, 14, 15, 62, 63, 64, 65, 66, 127, 128, 189, 190, 250, 500, 900, 1_150, 1_200,
    ] {
        // As it stands, then its name alone, open and sensitive.
        let n = ENTRIES - back;
        let name = format!("x-{n}");
        blocks.push(block(vec![
            entry(n),
            field(&name, "another"),
            secret(&name, "hidden"),
        ]));
    }
    blocks
}
