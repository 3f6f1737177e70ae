//! `hot LOAD CALLS [counts]`: puts calls through the pipeline, for callgrind to count [`measured`]. Of the first half nothing
//! is measured. Says how many streams ended in the second one. `counts`: it only has the time to count them.

mod load;

use h2trace_core::pipeline::Depth;
use tracer_tests::conversation::records::Record;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let calls = arguments.next().and_then(|calls| calls.parse().ok());
    let records = load::records(&name, calls.unwrap_or(2_000));
    let (first, second) = records.split_at(records.len() / 2);
    let depth = match arguments.next().as_deref() {
        Some("counts") => Depth::Counts,
        _ => Depth::Whole,
    };
    let mut run = load::Run::new(&name, depth);
    run.take(first);
    let before = run.count.streams;
    measured(&mut run, second);
    println!("{}", run.count.streams - before);
}

/// Its name is what callgrind is told to count.
#[inline(never)]
fn measured(run: &mut load::Run, records: &[Record]) {
    run.take(records);
}
