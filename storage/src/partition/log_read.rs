//! What a read of a log gives, and taking it in parts.
//!
//! Invariant         the pieces, one after the other, are whole batches.

use bytes::Bytes;

use crate::segment::WholeBatches;

/// Whole batches of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRead {
    /// The batches, one piece after the other. A piece holds whole batches or, from the append
    /// buffer, a part of one.
    pub pieces: Vec<Bytes>,
    /// Where the next read begins; `None` when this one came to what is not in segments yet, or
    /// found nothing.
    pub next_offset: Option<i64>,
}

impl LogRead {
    /// Bytes of the batches.
    pub fn byte_count(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Takes batches from the front of a read whose end is known, up to `bytes_max`, the first one
    /// whatever its size if `at_least_one`. What is left stays here.
    pub fn take_front(&mut self, bytes_max: usize, at_least_one: bool) -> Self {
        let mut taken = Self::default();
        let mut room = bytes_max;
        let mut rest = std::mem::take(&mut self.pieces).into_iter();
        for mut piece in rest.by_ref() {
            let batches = WholeBatches::take(Some(&piece), room, i64::MAX);
            let is_forced = at_least_one && taken.pieces.is_empty();
            if batches.length > 0 && (batches.length <= room || is_forced) {
                room = room.saturating_sub(batches.length);
                taken.pieces.push(piece.split_to(batches.length));
                taken.next_offset = Some(batches.next_offset);
            }
            if !piece.is_empty() {
                self.pieces.push(piece);
                break;
            }
        }
        self.pieces.extend(rest);
        taken
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::LogRead;
    use crate::testing::batches::plain_batch;

    /// Three batches of one size and of two records each in two pieces; the size.
    fn three_batches() -> (LogRead, usize) {
        let batches: Vec<Bytes> = (0..3).map(|at| plain_batch(at * 2, 2, 50, 1)).collect();
        let read = LogRead {
            pieces: vec![
                Bytes::from(batches[..2].concat()),
                Bytes::clone(&batches[2]),
            ],
            next_offset: Some(6),
        };
        (read, batches[0].len())
    }

    #[test]
    fn the_front_is_whole_batches_and_the_rest_stays() {
        let (mut read, size) = three_batches();
        let all = read.pieces.concat();
        let first = read.take_front(2 * size - 1, false);
        assert_eq!((first.next_offset, first.byte_count()), (Some(2), size));
        assert_eq!(read.byte_count(), 2 * size);
        let rest = read.take_front(2 * size, false);
        assert_eq!((rest.next_offset, read.byte_count()), (Some(6), 0));
        assert_eq!([first.pieces.concat(), rest.pieces.concat()].concat(), all);
        assert_eq!(read.take_front(usize::MAX, true), LogRead::default());
    }

    #[test]
    fn a_first_batch_without_room_comes_only_when_it_must() {
        let (mut read, size) = three_batches();
        assert_eq!(read.take_front(size - 1, false), LogRead::default());
        assert_eq!(read.byte_count(), 3 * size);
        let forced = read.take_front(size - 1, true);
        assert_eq!((forced.next_offset, forced.byte_count()), (Some(2), size));
        assert_eq!(read.byte_count(), 2 * size);
    }
}
