//! The flight recorder: what went by on one stream, bounded.

use std::collections::VecDeque;

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::FrameKind;
use crate::limits;
use crate::stream::record::{Moment, Windows};

/// Moments kept from the beginning; as many are kept from the end.
const HALF: usize = limits::STORY_MOMENTS / 2;

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
    moment: Moment,
    n_begun: u32,
    first_size: Option<u32>,
}

/// What went by on one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    first: Vec<StoryEntry>,
    last: VecDeque<StoryEntry>,
    n_left_out: u64,
}

impl Story {
    /// Records a frame other than DATA.
    pub(super) fn frame(&mut self, moment: Moment) {
        self.push(StoryEntry {
            moment,
            n_begun: 0,
            first_size: None,
        });
    }

    /// Records a DATA frame: a moment of its own, or more of the last one.
    pub(super) fn data(&mut self, data: DataMoment) {
        let last = self.last.back_mut().or(self.first.last_mut());
        if let Some(entry) = last
            && entry.moment.frame == FrameKind::Data
            && entry.moment.sender == data.sender
            && entry.moment.note == data.note
            && !entry.moment.end_stream
        {
            entry.moment.at = data.at;
            entry.moment.n_frames = entry.moment.n_frames.saturating_add(1);
            entry.moment.bytes = entry.moment.bytes.saturating_add(data.bytes);
            entry.moment.end_stream = data.end_stream;
            entry.moment.windows = data.windows;
            entry.n_begun = entry.n_begun.saturating_add(data.n_begun);
            entry.first_size = entry.first_size.or(data.first_size);
            return;
        }
        let moment = Moment {
            at: data.at,
            sender: data.sender,
            frame: FrameKind::Data,
            n_frames: 1,
            bytes: data.bytes,
            end_stream: data.end_stream,
            windows: data.windows,
            note: data.note.to_owned(),
        };
        self.push(StoryEntry {
            moment,
            n_begun: data.n_begun,
            first_size: data.first_size,
        });
    }

    /// Adds to the note of the last moment.
    pub(super) fn remark(&mut self, remark: &str) {
        if let Some(entry) = self.last.back_mut().or(self.first.last_mut())
            && !entry.moment.note.contains(remark)
            && entry.moment.note.len() < limits::SHOWN_VALUE
        {
            add_note(&mut entry.moment.note, remark);
        }
    }

    /// Moments had to be left out.
    pub(super) const fn overflowed(&self) -> bool {
        self.n_left_out > 0
    }

    /// All moments kept, oldest first. `grpc`: messages are worth a word.
    pub(super) fn into_moments(self, grpc: bool) -> Vec<Moment> {
        let n_left_out = self.n_left_out;
        let mut moments = Vec::with_capacity(self.first.len() + self.last.len());
        let mut gap_told = false;
        for (nth, mut entry) in self.first.into_iter().chain(self.last).enumerate() {
            if grpc {
                match (entry.n_begun, entry.first_size) {
                    (1, Some(size)) => {
                        add_note(&mut entry.moment.note, &format!("message {size} bytes"));
                    }
                    (0, _) | (_, None) => {}
                    (n, Some(_)) => add_note(&mut entry.moment.note, &format!("{n} messages")),
                }
            }
            if nth >= HALF && n_left_out > 0 && !gap_told {
                gap_told = true;
                add_note(
                    &mut entry.moment.note,
                    &format!("{n_left_out} moments before this left out"),
                );
            }
            moments.push(entry.moment);
        }
        moments
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

fn add_note(note: &mut String, more: &str) {
    if !note.is_empty() {
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
        let moments = story.into_moments(true);
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
            story.frame(Moment {
                at: Timestamp(n),
                sender: Endpoint::Client,
                frame: FrameKind::WindowUpdate,
                n_frames: 1,
                bytes: 4,
                end_stream: false,
                windows: Windows::default(),
                note: String::new(),
            });
        }
        assert!(story.overflowed());
        let moments = story.into_moments(true);
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
