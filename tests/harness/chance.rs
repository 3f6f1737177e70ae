//! A fault that comes by chance.

use crate::call::{Call, failed_ids};

/// Runs in which no call failed before a test gives up.
const RUNS: usize = 8;

/// Has it run until a call fails: in a run without a failed call there is nothing to be named.
///
/// # Panics
/// When no call failed in any of eight runs.
pub fn until_a_call_fails<T>(run: impl FnMut() -> T, calls: impl Fn(&T) -> &[Call]) -> T {
    let fails = |made: &T| {
        let fails = !failed_ids(calls(made)).is_empty();
        if !fails {
            println!("no call failed in this run: once more");
        }
        fails
    };
    let mut runs = std::iter::repeat_with(run).take(RUNS);
    runs.find(fails)
        .unwrap_or_else(|| panic!("no call failed in {RUNS} runs"))
}

#[cfg(test)]
mod tests {
    use super::{RUNS, until_a_call_fails};
    use crate::call::Call;

    fn run(code: u32) -> Vec<Call> {
        vec![Call {
            id: "c-1".to_owned(),
            code,
            message: String::new(),
            bytes: 0,
        }]
    }

    #[test]
    fn a_run_without_a_failed_call_is_made_again() {
        let mut codes = [0, 0, 13, 0].into_iter();
        let made = until_a_call_fails(|| run(codes.next().unwrap()), Vec::as_slice);
        assert_eq!((made[0].code, codes.len()), (13, 1));
    }

    #[test]
    #[should_panic(expected = "no call failed in 8 runs")]
    fn runs_come_to_an_end() {
        let mut left = RUNS;
        let _ = until_a_call_fails(
            || {
                left = left.checked_sub(1).expect("one run too many");
                run(0)
            },
            Vec::as_slice,
        );
    }
}
