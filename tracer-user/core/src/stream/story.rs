//! The flight recorder: what went by on one stream, bounded. A moment is kept as numbers, and becomes text when
//! somebody wants to read it: nobody reads the stories of most streams.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::field::Seen;
use crate::frame::{ErrorCode, FrameKind};
use crate::limits;
use crate::stream::record::{Moment, Windows};

/// Moments kept from the beginning; as many are kept from the end.
const HALF: usize = limits::STORY_MOMENTS / 2;

/// What is worth saying of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Note {
    /// Nothing.
    #[default]
    Nothing,
    /// The `:path` of the stream.
    Path,
    /// This.
    Text(&'static str),
    /// What RST_STREAM says.
    Code(ErrorCode),
    /// What WINDOW_UPDATE adds.
    Increment(u32),
    /// `:status` of an interim response.
    Interim(u16),
    /// What the server's HEADERS say.
    Response {
        /// `:status`; None in trailers.
        status: Option<Seen<u16>>,
        /// What is said at the end of the response.
        end: EndNote,
    },
}

/// What the last HEADERS of a response say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndNote {
    /// They are not the last.
    None,
    /// They are trailers, and not gRPC's.
    Trailers,
    /// `grpc-status`.
    Status(u32),
    /// It certainly is not there.
    NoStatus,
    /// It is no number.
    Malformed,
    /// It could not be seen.
    Unseen,
}

impl Note {
    fn write(self, path: Option<&str>, text: &mut String) {
        match self {
            Note::Nothing => {}
            Note::Path => text.push_str(path.unwrap_or_default()),
            Note::Text(words) => text.push_str(words),
            Note::Code(code) => text.push_str(&code.to_string()),
            Note::Increment(n) => text.push_str(&format!("+{n}")),
            Note::Interim(status) => text.push_str(&format!(":status {status}")),
            Note::Response { status, end } => {
                match status {
                    Some(Seen::Value(status)) => text.push_str(&format!(":status {status}")),
                    Some(Seen::Unknown) => text.push_str(":status unseen"),
                    Some(Seen::Absent) | None => {}
                }
                end.write(status.is_some(), text);
            }
        }
    }
}

impl EndNote {
    fn write(self, is_response: bool, text: &mut String) {
        match self {
            EndNote::None => return,
            EndNote::Trailers => return add(text, "trailers"),
            _ if is_response => add(text, "Trailers-Only"),
            _ => add(text, "trailers"),
        }
        match self {
            EndNote::Status(status) => text.push_str(&format!(" grpc-status {status}")),
            EndNote::NoStatus => text.push_str(" without grpc-status"),
            EndNote::Malformed => text.push_str(" grpc-status malformed"),
            EndNote::None | EndNote::Trailers | EndNote::Unseen => {
                text.push_str(" grpc-status unseen");
            }
        }
    }
}

/// The windows of a sender. `i64::MIN` is unknown, which no window can be.
#[derive(Clone, Copy, Debug)]
struct Left([i64; 2]);

impl Left {
    fn of(windows: Windows) -> Left {
        Left([windows.stream, windows.connection].map(|left| left.unwrap_or(i64::MIN)))
    }

    fn windows(self) -> Windows {
        let [stream, connection] = self.0.map(|left| (left != i64::MIN).then_some(left));
        Windows { stream, connection }
    }
}

/// A frame other than DATA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// When.
    pub(super) at: Timestamp,
    /// Who sent it.
    pub(super) sender: Endpoint,
    /// What it is.
    pub(super) frame: FrameKind,
    /// Its payload.
    pub(super) bytes: u64,
    /// Its END_STREAM flag.
    pub(super) end_stream: bool,
    /// The sender's windows after it.
    pub(super) windows: Windows,
    /// What is worth saying.
    pub(super) note: Note,
    /// And of what is wrong with it.
    pub(super) remarks: [&'static str; 2],
}

/// A DATA frame that is whole, or as far as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataMoment {
    pub(super) at: Timestamp,
    pub(super) sender: Endpoint,
    /// Its data without padding.
    pub(super) bytes: u64,
    pub(super) end_stream: bool,
    /// The sender's windows after it.
    pub(super) windows: Windows,
    /// Messages begun in it.
    pub(super) n_begun: u32,
    /// The length of the first of them.
    pub(super) first_size: Option<u32>,
    /// What else is worth saying.
    pub(super) note: &'static str,
}

/// One moment and, for DATA, the messages begun in it.
#[derive(Clone, Debug)]
struct StoryEntry {
    at: Timestamp,
    bytes: u64,
    left: Left,
    n_frames: u32,
    n_begun: u32,
    first_size: Option<u32>,
    note: Note,
    /// What was added to the note: few frames have that.
    more: Option<Box<str>>,
    frame: FrameKind,
    sender: Endpoint,
    end_stream: bool,
}

impl StoryEntry {
    /// What is said of it, but for its messages.
    fn text(&self, path: Option<&str>) -> String {
        let mut text = String::new();
        self.note.write(path, &mut text);
        add(&mut text, self.more.as_deref().unwrap_or_default());
        text
    }

    fn remark(&mut self, remark: &str) {
        let mut more = self.more.take().map(String::from).unwrap_or_default();
        add(&mut more, remark);
        self.more = (!more.is_empty()).then(|| more.into());
    }
}

/// What went by on one stream.
#[derive(Clone, Debug, Default)]
pub struct Story {
    first: Vec<StoryEntry>,
    last: VecDeque<StoryEntry>,
    n_left_out: u64,
    path: Option<Arc<str>>,
    /// Messages are worth a word.
    grpc: bool,
}

impl Story {
    /// The moments, oldest first.
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        let entries = self.first.iter().chain(&self.last).enumerate();
        entries
            .map(|(nth, entry)| Moment {
                at: entry.at,
                sender: entry.sender,
                frame: entry.frame,
                n_frames: entry.n_frames,
                bytes: entry.bytes,
                end_stream: entry.end_stream,
                windows: entry.left.windows(),
                note: self.note(nth, entry),
            })
            .collect()
    }

    /// How many moments are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.first.len() + self.last.len()
    }

    /// No moment is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nothing is kept any more but memory.
    pub(super) fn clear(&mut self) {
        self.first.clear();
        if self.n_left_out > 0 || !self.last.is_empty() {
            self.last = VecDeque::new();
        }
        self.n_left_out = 0;
        self.path = None;
        self.grpc = false;
    }

    /// The stream's `:path`, for [`Note::Path`].
    pub(super) fn set_path(&mut self, path: Option<Arc<str>>) {
        self.path = path;
    }

    /// The stream has ended. `grpc`: messages are worth a word.
    pub(super) fn end(&mut self, grpc: bool) {
        self.grpc = grpc;
    }

    /// Records a frame other than DATA.
    pub(super) fn frame(&mut self, told: &Told) {
        let mut entry = StoryEntry {
            at: told.at,
            bytes: told.bytes,
            left: Left::of(told.windows),
            n_frames: 1,
            n_begun: 0,
            first_size: None,
            note: told.note,
            more: None,
            frame: told.frame,
            sender: told.sender,
            end_stream: told.end_stream,
        };
        for remark in told.remarks.iter().filter(|remark| !remark.is_empty()) {
            entry.remark(remark);
        }
        self.push(entry);
    }

    /// Records a DATA frame: a moment of its own, or more of the last one.
    pub(super) fn data(&mut self, data: DataMoment) {
        let note = match data.note {
            "" => Note::Nothing,
            note => Note::Text(note),
        };
        let last = self.last.back_mut().or(self.first.last_mut());
        if let Some(entry) = last
            && entry.frame == FrameKind::Data
            && entry.sender == data.sender
            && entry.note == note
            && entry.more.is_none()
            && !entry.end_stream
        {
            entry.at = data.at;
            entry.n_frames = entry.n_frames.saturating_add(1);
            entry.bytes = entry.bytes.saturating_add(data.bytes);
            entry.end_stream = data.end_stream;
            entry.left = Left::of(data.windows);
            entry.n_begun = entry.n_begun.saturating_add(data.n_begun);
            entry.first_size = entry.first_size.or(data.first_size);
            return;
        }
        self.push(StoryEntry {
            at: data.at,
            bytes: data.bytes,
            left: Left::of(data.windows),
            n_frames: 1,
            n_begun: data.n_begun,
            first_size: data.first_size,
            note,
            more: None,
            frame: FrameKind::Data,
            sender: data.sender,
            end_stream: data.end_stream,
        });
    }

    /// Adds to the note of the last moment.
    pub(super) fn remark(&mut self, remark: &str) {
        let path = self.path.as_deref();
        if let Some(entry) = self.last.back_mut().or(self.first.last_mut()) {
            let text = entry.text(path);
            if !text.contains(remark) && text.len() < limits::SHOWN_VALUE {
                entry.remark(remark);
            }
        }
    }

    /// Moments had to be left out.
    pub(super) const fn overflowed(&self) -> bool {
        self.n_left_out > 0
    }

    /// What is said of the `nth` moment.
    fn note(&self, nth: usize, entry: &StoryEntry) -> String {
        let mut note = entry.text(self.path.as_deref());
        if self.grpc {
            match (entry.n_begun, entry.first_size) {
                (1, Some(size)) => add(&mut note, &format!("message {size} bytes")),
                (0, _) | (_, None) => {}
                (n, Some(_)) => add(&mut note, &format!("{n} messages")),
            }
        }
        if nth == HALF && self.n_left_out > 0 {
            let n = self.n_left_out;
            add(&mut note, &format!("{n} moments before this left out"));
        }
        note
    }

    fn push(&mut self, entry: StoryEntry) {
        if self.first.len() < HALF {
            self.first.push(entry);
            return;
        }
        if self.last.len() >= HALF {
            self.last.pop_front();
            self.n_left_out = self.n_left_out.saturating_add(1);
        }
        self.last.push_back(entry);
    }
}

impl PartialEq for Story {
    /// They say the same.
    fn eq(&self, other: &Story) -> bool {
        self.moments() == other.moments()
    }
}

impl Eq for Story {}

impl FromIterator<Moment> for Story {
    /// A story of these moments: the first [`limits::STORY_MOMENTS`] of them.
    fn from_iter<I: IntoIterator<Item = Moment>>(moments: I) -> Story {
        let mut story = Story::default();
        for moment in moments.into_iter().take(limits::STORY_MOMENTS) {
            story.push(StoryEntry {
                at: moment.at,
                bytes: moment.bytes,
                left: Left::of(moment.windows),
                n_frames: moment.n_frames,
                n_begun: 0,
                first_size: None,
                note: Note::Nothing,
                more: (!moment.note.is_empty()).then(|| moment.note.into()),
                frame: moment.frame,
                sender: moment.sender,
                end_stream: moment.end_stream,
            });
        }
        story
    }
}

/// Adds to a note.
fn add(note: &mut String, more: &str) {
    if !note.is_empty() && !more.is_empty() {
        note.push_str(", ");
    }
    note.push_str(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(sender: Endpoint, bytes: u64, n_begun: u32) -> DataMoment {
        DataMoment {
            at: Timestamp(bytes),
            sender,
            bytes,
            end_stream: false,
            windows: Windows::default(),
            n_begun,
            first_size: (n_begun > 0).then_some(100),
            note: "",
        }
    }

    #[test]
    fn consecutive_data_of_one_sender_is_one_moment() {
        let mut story = Story::default();
        story.data(data(Endpoint::Server, 60, 1));
        story.data(data(Endpoint::Server, 45, 0));
        story.data(data(Endpoint::Client, 5, 0));
        story.data(data(Endpoint::Server, 9, 0));
        story.end(true);
        let moments = story.moments();
        let seen: Vec<_> = moments
            .iter()
            .map(|m| (m.n_frames, m.bytes, m.note.as_str()))
            .collect();
        assert_eq!(
            seen,
            [(2, 105, "message 100 bytes"), (1, 5, ""), (1, 9, "")]
        );
    }

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        let mut story = Story::default();
        for n in 0..1000 {
            story.frame(&Told {
                at: Timestamp(n),
                sender: Endpoint::Client,
                frame: FrameKind::WindowUpdate,
                bytes: 4,
                end_stream: false,
                windows: Windows::default(),
                note: Note::Nothing,
                remarks: [""; 2],
            });
        }
        assert!(story.overflowed());
        story.end(true);
        let moments = story.moments();
        assert_eq!(moments.len(), limits::STORY_MOMENTS);
        assert_eq!(moments.first().map(|m| m.at), Some(Timestamp(0)));
        assert_eq!(moments.last().map(|m| m.at), Some(Timestamp(999)));
        let told: Vec<_> = moments.iter().filter(|m| !m.note.is_empty()).collect();
        assert_eq!(told.len(), 1);
        assert_eq!(
            told[0].note,
            format!(
                "{} moments before this left out",
                1000 - limits::STORY_MOMENTS
            )
        );
    }
}
