//! A key log's file, which may grow while it is read.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::Context as _;
use h2trace_core::tls::{KeyLog, KeyLogReader};
use zeroize::Zeroize as _;

use super::output::say;
use crate::unit::count;

/// Bytes that are read at once; a common size of a pipe, too.
const AT_ONCE: usize = 65_536;

/// The file, and how far it was read.
pub struct KeyFile {
    name: String,
    file: File,
    read: u64,
    reader: KeyLogReader,
    buffer: Vec<u8>,
    /// It could not be read, and that was said.
    is_broken: bool,
}

impl KeyFile {
    /// Opens it.
    ///
    /// # Errors
    /// It is not there, or may not be read; with the remedy.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| {
            format!(
                "cannot open the key log {name} (make the file, and name it to the programs that are to write it: \
                 SSLKEYLOGFILE={name})"
            )
        })?;
        Ok(Self {
            name,
            file,
            read: 0,
            reader: KeyLogReader::default(),
            buffer: vec![0; AT_ONCE],
            is_broken: false,
        })
    }

    /// Reads what has come since the last time.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_on(&mut self, keys: &mut KeyLog) -> anyhow::Result<()> {
        let failed = || format!("cannot read the key log {}", self.name);
        let len = self.file.metadata().with_context(failed)?.len();
        if self.read > len && len > 0 {
            // It was written anew.
            self.file.seek(SeekFrom::Start(0)).with_context(failed)?;
            self.reader = KeyLogReader::default();
            self.read = 0;
        }
        loop {
            let n = self.file.read(&mut self.buffer).with_context(failed)?;
            let Some(read) = self.buffer.get_mut(..n).filter(|read| !read.is_empty()) else {
                return Ok(());
            };
            self.read += n as u64;
            self.reader.push(read, keys);
            read.zeroize();
        }
    }

    /// The same in the middle of a run, which goes on whatever happens.
    pub fn follow(&mut self, keys: &mut KeyLog) {
        if let Err(error) = self.read_on(keys)
            && !std::mem::replace(&mut self.is_broken, true)
        {
            say(&format!("{error:#}"));
        }
    }

    /// Nothing is added to it any more: says which of its lines could not be read.
    pub fn finish(&mut self, keys: &mut KeyLog) {
        self.reader.finish(keys);
        let (lines, n) = self.reader.bad();
        if n > 0 {
            let mut named: Vec<String> = lines.iter().map(ToString::to_string).collect();
            if n > lines.len() as u64 {
                named.push("...".to_owned());
            }
            let what = count(n, "line is", "lines are");
            let named = named.join(", ");
            say(&format!("{}: {what} none of a key log: {named}", self.name));
        }
    }
}
