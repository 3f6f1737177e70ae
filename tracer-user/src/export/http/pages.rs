//! The page of metrics: written once for all who ask at that moment, and shared by its readers.

use std::io::Write as _;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use h2trace_core::limits::{self, Limit};
use tokio::sync::Mutex;

use super::heartbeat::Heartbeat;
use super::served::ServedConnections;
use super::watched::Progress;
use crate::export::prometheus::Scrape;

/// A page is good for this many times the time that it took to write: whoever asks again and again costs no more than
/// a tenth of a processor.
const GOOD_FOR: u32 = 10;

/// No page is older.
const MAX_AGE: Duration = Duration::from_secs(1);

/// One page.
#[derive(Debug)]
struct Page {
    number: u64,
    text: Vec<u8>,
    /// The same, compressed; made for the first who asks for it.
    packed: OnceLock<Vec<u8>>,
    good_until: Instant,
}

impl Page {
    fn bytes(&self) -> usize {
        self.text.len() + self.packed.get().map_or(0, Vec::len)
    }

    fn packed(&self) -> anyhow::Result<&[u8]> {
        if let Some(packed) = self.packed.get() {
            return Ok(packed);
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.text)?;
        let packed = encoder.finish()?;
        Ok(self.packed.get_or_init(|| packed))
    }
}

/// A page on its way to one reader.
struct Reading {
    page: Arc<Page>,
    packed: bool,
    reader: Arc<Progress>,
}

impl AsRef<[u8]> for Reading {
    fn as_ref(&self) -> &[u8] {
        if self.packed {
            self.page.packed.get().map_or(&[], Vec::as_slice)
        } else {
            &self.page.text
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.reader.end();
    }
}

/// How long those who were cut have to let go of their page before the next one is written.
const LET_GO: Duration = Duration::from_secs(1);

/// The pages that somebody reads, at most [`limits::PAGES`] of at most [`limits::PAGES_BYTES`].
#[derive(Clone)]
pub(super) struct Pages {
    scrape: Scrape,
    heartbeat: Arc<Heartbeat>,
    places: ServedConnections,
    /// Held while a page is written: whoever asks meanwhile waits for that one.
    written: Arc<Mutex<Written>>,
}

#[derive(Default)]
struct Written {
    next: u64,
    /// While it is good.
    newest: Option<Arc<Page>>,
    read: Vec<(u64, Weak<Page>)>,
}

impl Written {
    /// For another page of about `expected` bytes those before this one have to go. None when there is room.
    fn oldest_kept(&mut self, expected: usize) -> Option<u64> {
        self.read.retain(|(_, page)| page.strong_count() > 0);
        let (mut n, mut bytes) = (1, expected);
        let fits = |page: &&(u64, Weak<Page>)| {
            n += 1;
            bytes += page.1.upgrade().map_or(0, |page| page.bytes());
            n <= limits::PAGES && bytes <= limits::PAGES_BYTES
        };
        let n_kept = self.read.iter().rev().take_while(fits).count();
        let first_kept = self.read.len() - n_kept;
        let oldest_kept = self.read.get(first_kept).map_or(self.next, |page| page.0);
        (first_kept > 0).then_some(oldest_kept)
    }

    fn has_before(&self, oldest_kept: u64) -> bool {
        let mut before = self.read.iter().take_while(|page| page.0 < oldest_kept);
        before.any(|(_, page)| page.strong_count() > 0)
    }
}

impl Pages {
    pub(super) fn new(
        scrape: Scrape,
        heartbeat: Arc<Heartbeat>,
        places: ServedConnections,
    ) -> Self {
        Self {
            scrape,
            heartbeat,
            places,
            written: Arc::default(),
        }
    }

    /// The page as it is now, for this reader.
    pub(super) async fn page(&self, packed: bool, reader: Arc<Progress>) -> anyhow::Result<Bytes> {
        let mut written = self.written.lock().await;
        let page = match &written.newest {
            Some(page) if Instant::now() < page.good_until => Arc::clone(page),
            _ => self.write(&mut written).await?,
        };
        if packed && page.packed.get().is_none() {
            let page = Arc::clone(&page);
            let packing = tokio::task::spawn_blocking(move || page.packed().map(drop));
            packing.await.context("the page was not compressed")??;
        }
        drop(written);
        reader.begin(page.number);
        let reading = Reading {
            page,
            packed,
            reader,
        };
        Ok(Bytes::from_owner(reading))
    }

    async fn write(&self, written: &mut Written) -> anyhow::Result<Arc<Page>> {
        written.newest = None;
        if let Some(oldest_kept) = written.oldest_kept(self.scrape.expected_len()) {
            // Whoever reads slowly does not keep the others from reading.
            self.scrape.limit_hit(Limit::Pages);
            self.places.cut_readers_before(oldest_kept);
            let began = Instant::now();
            while written.has_before(oldest_kept) && began.elapsed() < LET_GO {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let (scrape, age) = (self.scrape.clone(), self.heartbeat.age());
        let began = Instant::now();
        let text = tokio::task::spawn_blocking(move || scrape.encode(age))
            .await
            .context("the page was not written")??;
        let good_for = (began.elapsed() * GOOD_FOR).min(MAX_AGE);
        let page = Arc::new(Page {
            number: written.next,
            text,
            packed: OnceLock::new(),
            good_until: Instant::now() + good_for,
        });
        written.next += 1;
        written.read.push((page.number, Arc::downgrade(&page)));
        written.newest = Some(Arc::clone(&page));
        self.forget_after(good_for, page.number);
        Ok(page)
    }

    /// Between two scrapes nothing is kept.
    fn forget_after(&self, good_for: Duration, number: u64) {
        let written = Arc::clone(&self.written);
        tokio::spawn(async move {
            tokio::time::sleep(good_for).await;
            let mut written = written.lock().await;
            if written
                .newest
                .as_ref()
                .is_some_and(|page| page.number == number)
            {
                written.newest = None;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_are_read_give_way_by_number_and_by_size() {
        let page = |number, len| {
            Arc::new(Page {
                number,
                text: vec![b'a'; len],
                packed: OnceLock::new(),
                good_until: Instant::now(),
            })
        };
        let third = limits::PAGES_BYTES / 3;
        for (sizes, expected, oldest_kept) in [
            (&[][..], 2 * limits::PAGES_BYTES, None),
            (&[1, 1, 1], 1, None),
            (&[1, 1, 1, 1], 1, Some(1)),
            (&[third, third], third, None),
            (&[third, third], third + 2, Some(1)),
            (&[third, third], 3 * third, Some(2)),
        ] {
            let pages: Vec<_> = (0..).zip(sizes).map(|(n, len)| page(n, *len)).collect();
            let mut written = Written {
                next: pages.len() as u64,
                newest: None,
                read: (0..).zip(pages.iter().map(Arc::downgrade)).collect(),
            };
            assert_eq!(written.oldest_kept(expected), oldest_kept, "{sizes:?}");
            let oldest_kept = oldest_kept.unwrap_or(0);
            assert_eq!(written.has_before(oldest_kept), oldest_kept > 0);
            drop(pages);
            assert!(!written.has_before(u64::MAX));
        }
    }
}
