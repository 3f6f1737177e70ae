//! How much may still be counted by its own name.

use std::collections::HashSet;
use std::sync::Arc;

use h2trace_core::limits;
use prometheus::IntCounter;

use super::series::Series;
use super::vectors::Vectors;

/// What did not find room: the role's place (None: the end's own), the series, and by how much it rises.
pub(super) type Spilled = (Option<usize>, Series, u64);

/// The room for series, and what stands for the bounds.
pub(super) struct Room {
    left: usize,
    /// Methods of one end and role.
    pub(super) methods: usize,
    /// Sorts of resets of one end and role.
    pub(super) resets: usize,
    paths: HashSet<Arc<str>>,
    spilled: Vec<Spilled>,
    overflow: Option<Overflow>,
}

/// Counts what went beyond a bound.
struct Overflow {
    end: IntCounter,
    grpc_method: IntCounter,
    reset: IntCounter,
    series: IntCounter,
}

impl Room {
    /// For the ends that have names.
    pub(super) fn bounded(vectors: &Vectors) -> Room {
        let of = |label| vectors.label_overflow.with_label_values(&[label]);
        Room {
            left: limits::SERIES,
            methods: limits::END_METHODS,
            resets: limits::END_RESETS,
            paths: HashSet::new(),
            spilled: Vec::new(),
            overflow: Some(Overflow {
                end: of("end"),
                grpc_method: of("grpc_method"),
                reset: of("reset"),
                series: of("series"),
            }),
        }
    }

    /// For what stands for all others: its sets are closed.
    pub(super) fn of_other() -> Room {
        Room {
            left: usize::MAX,
            methods: 0,
            resets: 0,
            paths: HashSet::new(),
            spilled: Vec::new(),
            overflow: None,
        }
    }

    /// Takes room for `n` series, if there is.
    pub(super) fn take(&mut self, n: usize) -> bool {
        let left = self.left.checked_sub(n);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Series went.
    pub(super) fn give_back(&mut self, n: usize) {
        self.left = self.left.saturating_add(n);
    }

    /// No room for this one.
    pub(super) fn spill(&mut self, role: Option<usize>, series: Series, n: u64) {
        self.full();
        self.spilled.push((role, series, n));
    }

    /// Something found no room.
    pub(super) fn has_spilled(&self) -> bool {
        !self.spilled.is_empty()
    }

    /// What found no room since the last time.
    pub(super) fn take_spilled(&mut self) -> Vec<Spilled> {
        std::mem::take(&mut self.spilled)
    }

    /// An end found no place.
    pub(super) fn no_end(&self) {
        if let Some(overflow) = &self.overflow {
            overflow.end.inc();
        }
    }

    /// A method found no place.
    pub(super) fn no_method(&self) {
        if let Some(overflow) = &self.overflow {
            overflow.grpc_method.inc();
        }
    }

    /// A sort of reset found no place.
    pub(super) fn no_reset(&self) {
        if let Some(overflow) = &self.overflow {
            overflow.reset.inc();
        }
    }

    /// A series found no place.
    pub(super) fn full(&self) {
        if let Some(overflow) = &self.overflow {
            overflow.series.inc();
        }
    }

    /// One path is kept once, however many ends have it.
    pub(super) fn path(&mut self, path: &str) -> Arc<str> {
        if let Some(path) = self.paths.get(path) {
            return Arc::clone(path);
        }
        let path: Arc<str> = path.into();
        self.paths.insert(Arc::clone(&path));
        path
    }

    /// Forgets the paths that no end has any more.
    pub(super) fn sweep(&mut self) {
        self.paths.retain(|path| Arc::strong_count(path) > 1);
    }
}
