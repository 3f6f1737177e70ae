//! What is printed of a run, in pieces: one drain may yield any amount of lines.

use h2trace_core::pipeline::{Output, Sink as _};

use super::front::Front;
use super::output::{Printer, Weight};
use super::run::Prints;
use super::show::Wanted;

/// Lines are handed over when there are so many bytes of them, or when a drain is over.
const HAND_OVER: usize = 1 << 20;

/// Lines on their way to whoever reads them.
pub struct Paper {
    front: Front,
    printer: Option<Printer>,
    /// The most that any of the lines which wait in `front` is worth.
    weight: Weight,
    /// Something was printed since this was last asked.
    printed: bool,
}

impl Paper {
    /// Nothing is printed.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Front::Silent, None)
    }

    /// Lines of this form, for this reader.
    #[must_use]
    pub fn to(printer: Printer, front: Front) -> Self {
        Self::new(front, Some(printer))
    }

    fn new(front: Front, printer: Option<Printer>) -> Self {
        Self {
            front,
            printer,
            weight: Weight::Common,
            printed: false,
        }
    }

    /// What is printed.
    pub(super) fn prints(&self) -> Prints {
        match self.front {
            Front::Silent => Prints::Nothing,
            Front::Text(_) => Prints::Text,
            Front::Json(_) => Prints::Json,
        }
    }

    /// Nothing is printed.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.front, Front::Silent)
    }

    /// The reader has gone.
    pub(super) fn closed(&self) -> bool {
        self.printer.as_ref().is_some_and(Printer::closed)
    }

    /// Prints what of an output is wanted.
    pub(super) fn accept(&mut self, output: &Output, wanted: &Wanted) {
        let weight = Weight::of(output);
        // While the reader keeps up, a piece may be of both sorts.
        if weight != self.weight && self.printer.as_ref().is_some_and(Printer::is_behind) {
            self.hand_over();
        }
        let front = &mut self.front;
        wanted.pass(output, &mut |output| front.accept(output));
        if weight == Weight::NotToBeMissed {
            self.weight = weight;
        }
        if self.front.len() >= HAND_OVER {
            self.hand_over();
        }
    }

    /// Prints something that is not to be missed.
    pub(super) fn tell(&mut self, tell: impl FnOnce(&mut Front)) {
        self.hand_over();
        tell(&mut self.front);
        self.weight = Weight::NotToBeMissed;
        self.hand_over();
    }

    /// Hands over what there is.
    pub(super) fn hand_over(&mut self) {
        let lines = self.front.take();
        let weight = std::mem::replace(&mut self.weight, Weight::Common);
        if let (false, Some(printer)) = (lines.is_empty(), self.printer.as_mut()) {
            printer.print(lines, weight);
            self.printed = true;
        }
    }

    /// Something was printed since this was last asked.
    pub(super) fn take_printed(&mut self) -> bool {
        std::mem::take(&mut self.printed)
    }

    /// Lines thrown away so far.
    pub(super) fn dropped_lines(&self) -> u64 {
        self.printer.as_ref().map_or(0, Printer::dropped_lines)
    }

    /// Waits until all of it is written.
    pub(super) fn finish(&mut self) {
        if let Some(printer) = self.printer.take() {
            printer.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use h2trace_core::anomaly::kind::Verdict;

    use super::*;
    use crate::export::clock::WallClock;
    use crate::export::json::Json;
    use crate::export::sample;
    use crate::session::show::Show;

    #[test]
    fn findings_are_printed_among_lines_that_have_no_room() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let json = Json::new(WallClock::new(), Verdict::Suspicious);
        let mut paper = Paper::to(Printer::new(writer).unwrap(), Front::Json(json));
        let wanted = Wanted::new(vec![Show::Streams, Show::Findings]);
        let outputs = sample::outputs();
        let of_weight = |weight| {
            outputs
                .iter()
                .filter(move |output| Weight::of(output) == weight)
        };
        let common: Vec<_> = of_weight(Weight::Common).collect();
        // More than there is room for, as one drain yields it while nobody reads.
        let mut rounds = 0;
        while paper.dropped_lines() < 20_000 {
            common
                .iter()
                .for_each(|output| paper.accept(output, &wanted));
            rounds += 1;
            // Without either bound this would go on until there is no memory left.
            let waiting = paper.front.len();
            assert!(waiting < 2 * HAND_OVER, "{waiting} bytes are in one piece");
            assert!(rounds < 200_000, "whatever waits, nothing is thrown away");
        }
        // Nor for a single byte: what comes next is not printed because it is short.
        let printer = paper.printer.as_mut().unwrap();
        for size in (0..=20).rev().map(|n| 1 << n) {
            let before = printer.dropped_lines();
            while printer.dropped_lines() == before {
                printer.print(vec![b'\n'; size], Weight::Common);
            }
        }
        let n_kinds = of_weight(Weight::NotToBeMissed)
            .map(|output| paper.accept(output, &wanted))
            .count();
        common
            .iter()
            .for_each(|output| paper.accept(output, &wanted));
        // What is said of the run itself: the diagnosis is said the same way.
        paper.tell(|front| front.kernel_loss("ring_full", 7));
        assert!(n_kinds > 2 && rounds > 1_000 && paper.take_printed());
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        paper.finish();
        let text = read.join().unwrap();
        for kind in ["truncated_response", "connection_lost_streams", "proxy_"] {
            let mut findings = text
                .lines()
                .filter(|line| line.contains(r#""type":"finding""#));
            assert!(findings.any(|line| line.contains(kind)), "{kind}");
        }
        assert!(text.contains(r#""cause":"ring_full","count":7"#), "no loss");
    }
}
