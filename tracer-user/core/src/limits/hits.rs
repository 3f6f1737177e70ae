//! How often limits were reached.

use super::Limit;

/// How often limits were reached since that was last asked.
#[derive(Clone, Debug, Default)]
pub struct LimitHits(Vec<(Limit, u32)>);

impl LimitHits {
    /// `limit` was reached.
    pub fn hit(&mut self, limit: Limit) {
        self.add(limit, 1);
    }

    /// `limit` was reached `n` times.
    pub fn add(&mut self, limit: Limit, n: u32) {
        match self.0.iter_mut().find(|(known, _)| *known == limit) {
            Some((_, hits)) => *hits = hits.saturating_add(n),
            None if n > 0 => self.0.push((limit, n)),
            None => {}
        }
    }

    /// Takes all hits out of `other`.
    pub fn take_from(&mut self, other: &mut LimitHits) {
        for (limit, n) in other.0.drain(..) {
            self.add(limit, n);
        }
    }

    /// Each limit that was reached, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, u32)> + '_ {
        self.0.iter().copied()
    }
}
