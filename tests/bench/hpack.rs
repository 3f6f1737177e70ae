//! `cargo xtask bench --hpack`: decoding header blocks, beside a decoder that others wrote.
//!
//! The same blocks go through both decoders, in turn. Ours also reads what the fields say, once for each entry, and the
//! other one hands the fields out without keeping them; so ours does more. Counted is processor time, which other
//! programs on the machine disturb less than the clock; the ratios hold better than the figures.
//!
//! Arguments: how many rounds.

use std::hint::black_box;
use std::time::Duration;

use h2trace_core::frame::hpack::Decoder;
use tracer_tests::measure::processor_time;

/// Blocks of a load.
const BLOCKS: u32 = 4_000;
/// How long a decoder works at least before it is asked for its time.
const LONG_ENOUGH: Duration = Duration::from_millis(200);

/// A field of a block.
type Field = (&'static str, String);

/// Header blocks of one direction of a connection, in order.
struct Load {
    name: &'static str,
    blocks: Vec<Vec<u8>>,
}

impl Load {
    /// Encodes what `fields` gives for each block.
    fn of(name: &'static str, fields: impl Fn(u32) -> Vec<Field>) -> Load {
        let mut encoder = loona_hpack::Encoder::new();
        let blocks = (0..BLOCKS).map(|nth| {
            let fields = fields(nth);
            let bytes = |(name, value): &(&'static str, String)| {
                (name.as_bytes().to_vec(), value.as_bytes().to_vec())
            };
            let fields: Vec<_> = fields.iter().map(bytes).collect();
            encoder.encode(fields.iter().map(|(name, value)| (&name[..], &value[..])))
        });
        Load {
            name,
            blocks: blocks.collect(),
        }
    }

    fn bytes(&self) -> u32 {
        let len: usize = self.blocks.iter().map(Vec::len).sum();
        u32::try_from(len).expect("less than 4 GB")
    }
}

/// What a gRPC client sends.
fn request(path: String) -> Vec<Field> {
    vec![
        (":method", "POST".to_owned()),
        (":scheme", "http".to_owned()),
        (":path", path),
        (":authority", "orders.shop:8080".to_owned()),
        ("content-type", "application/grpc".to_owned()),
        ("te", "trailers".to_owned()),
        ("user-agent", "grpc-go/1.70.0".to_owned()),
    ]
}

fn loads() -> Vec<Load> {
    let method = |nth: u32| format!("/shop.Orders/Get{}", nth % 7);
    vec![
        Load::of("the same call", |_| request(method(0))),
        Load::of("calls with ids", |nth| {
            let mut fields = request(method(nth));
            fields.push((
                "x-request-id",
                format!("{nth:08x}-5f1c-4b6e-9d2a-0123456789ab"),
            ));
            fields
        }),
        Load::of("calls with traces and deadlines", |nth| {
            let mut fields = request(method(nth));
            let trace = u64::from(nth).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            fields.push(("traceparent", format!("00-{trace:032x}-{nth:016x}-01")));
            fields.push(("grpc-timeout", format!("{}u", 99_000 + nth % 997)));
            fields
        }),
        Load::of("answers", |_| {
            vec![
                (":status", "200".to_owned()),
                ("content-type", "application/grpc".to_owned()),
            ]
        }),
    ]
}

/// Puts the blocks through our decoder. How many fields there were.
fn ours(blocks: &[Vec<u8>]) -> usize {
    let mut decoder = Decoder::new(true);
    let fields = blocks.iter().map(|block| {
        let decoded = decoder.decode(block, false);
        assert!(decoded.error.is_none(), "a block is not decoded");
        decoder.handed_out(&decoded.block);
        black_box(&decoded.block.fields).len()
    });
    fields.sum()
}

/// The same with the decoder of loona.
fn theirs(blocks: &[Vec<u8>]) -> usize {
    let mut decoder = loona_hpack::Decoder::new();
    let mut n_fields = 0;
    for block in blocks {
        let decoded = decoder.decode_with_cb(block, |name, value| {
            black_box((name, value));
            n_fields += 1;
        });
        assert!(decoded.is_ok(), "a block is not decoded by loona");
    }
    n_fields
}

/// Nanoseconds of processor time for one block.
fn time(load: &Load, decode: fn(&[Vec<u8>]) -> usize) -> f64 {
    let begun = processor_time();
    let mut n = 0;
    loop {
        black_box(decode(&load.blocks));
        n += BLOCKS;
        let took = processor_time().saturating_sub(begun);
        if took >= LONG_ENOUGH {
            return took.as_secs_f64() * 1e9 / f64::from(n);
        }
    }
}

fn main() {
    // `cargo test --benches` runs this too, with arguments of its own; so does `cargo bench`.
    let rounds = std::env::args().skip(1).find_map(|n| n.parse().ok());
    let rounds: usize = rounds.unwrap_or(1);
    println!("header blocks, processor time, medians of {rounds}; ns a block");
    println!(
        "{:<32} {:>12} {:>9} {:>9} {:>8}",
        "blocks", "bytes each", "h2trace", "loona", "times"
    );
    for load in loads() {
        assert_eq!(ours(&load.blocks), theirs(&load.blocks), "{}", load.name);
        let times: Vec<(f64, f64)> = (0..rounds)
            .map(|_| (time(&load, ours), time(&load, theirs)))
            .collect();
        let of = |value: fn(&(f64, f64)) -> f64| median(times.iter().map(value));
        println!(
            "{:<32} {:>12.1} {:>9.0} {:>9.0} {:>8.1}",
            load.name,
            f64::from(load.bytes()) / f64::from(BLOCKS),
            of(|time| time.0),
            of(|time| time.1),
            of(|time| time.1 / time.0),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
