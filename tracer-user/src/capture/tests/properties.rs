//! Whatever the file is.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Whatever is done to a file, it is read without a panic, and to its end or to an error.
    #[test]
    fn a_mutated_file_never_panics(
        format in 0..3_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..24),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let frames = call().frames;
        let mut file = match format {
            0 => pcap(101, &frames),
            1 => pcap_of_nanoseconds(1, &behind(&frames, &[&[0; 12][..], &[8, 0]].concat())),
            _ => {
                let mut file = section(false);
                file.extend(interface(101, Some(9), 0));
                for packet in &frames {
                    file.extend(enhanced_packet(0, packet.at_ns, &packet.bytes));
                }
                file
            }
        };
        for (at, byte) in &changes {
            let at = at.index(file.len());
            file[at] = *byte;
        }
        if cuts {
            file.truncate(cut.index(file.len()));
        }
        replay(&file);
    }

    /// Any order and any copies of the segments, as long as all of them come: the same frames of
    /// each end, and nothing lost.
    #[test]
    fn shuffled_segments_give_the_same_frames(
        len in 1..200_usize,
        keys in prop::collection::vec(any::<u16>(), 1..64),
    ) {
        let replayed = segmented(len, |data| {
            let mut keyed: Vec<(usize, Frame)> = Vec::new();
            for (n, frame) in data.iter().enumerate() {
                let key = keys[n % keys.len()];
                // Neighbours change places within a window of eight.
                keyed.push((n + usize::from(key % 8), frame.clone()));
                if key % 5 == 0 {
                    keyed.push((n + usize::from(key % 16), frame.clone()));
                }
            }
            keyed.sort_by_key(|(place, _)| *place);
            *data = keyed.into_iter().map(|(_, frame)| frame).collect();
        });
        let mut told = replayed.told();
        told.sort_by_key(|name| name.starts_with('s'));
        prop_assert_eq!(told, FRAMES_OF_A_CALL);
        prop_assert_eq!(replayed.outcomes(), [Outcome::Ok]);
        prop_assert_eq!(replayed.counts.lost_bytes, 0);
    }

    /// Whatever the capture lacks, it accuses nobody.
    #[test]
    fn lost_segments_accuse_nobody(
        len in 1..200_usize,
        lost in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let replayed = segmented(len, |data| {
            for at in &lost {
                if data.len() > 1 {
                    data.remove(at.index(data.len()));
                }
            }
        });
        prop_assert_eq!(replayed.loud(), Vec::<&str>::new());
    }
}

#[test]
fn a_loss_at_the_end_of_time_is_given_up() {
    let mut talk = Talk::new();
    talk.handshake();
    talk.send(CLIENT, b"PRI");
    talk.lose(SERVER, 10);
    talk.ack(CLIENT);
    let mut file = section(false);
    file.extend(interface(101, Some(9), 0));
    for packet in &talk.frames {
        file.extend(enhanced_packet(0, u64::MAX, &packet.bytes));
    }
    assert_eq!(replay(&file).counts.lost_bytes, 10);
}
