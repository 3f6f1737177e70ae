//! What a call of many frames costs: nobody else runs on the processor meanwhile.

use super::*;
use crate::walk::state::AHEAD;

#[test]
fn small_frames_are_read_many_at_a_time() {
    const FRAMES: usize = 20_000;
    let mut walked = Walked::from_start();
    walked.call(&[&[&crate::http2::PREFACE[..], &settings()].concat()]);
    let before = walked.world.borrow().reads;
    let many = frame(0xee, 0, 0, &[]).repeat(FRAMES);
    walked.call(&[&many]);
    // Each read is a call of a helper, and those were most of what such a call took.
    let reads = walked.world.borrow().reads - before;
    let at_once = AHEAD as usize / Head::LEN;
    assert!(reads < 2 * FRAMES / at_once, "{reads} reads");
    assert_eq!(walked.told().len(), 33 + many.len());
}
