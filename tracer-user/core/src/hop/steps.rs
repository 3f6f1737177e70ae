//! Counts what is looked at, for tests: a walk that grows with what is open shows in it, whatever else the machine does.

#[cfg(test)]
thread_local! {
    static LOOKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// So many requests, streams or connections were looked at.
#[inline]
pub(super) fn look(n: usize) {
    #[cfg(test)]
    LOOKED.with(|looked| looked.set(looked.get() + n));
    #[cfg(not(test))]
    let _ = n;
}

/// How many have been, on this thread.
#[cfg(test)]
pub(super) fn looked() -> usize {
    LOOKED.get()
}
