//! Which source records go into a batch, and how.
//!
//! Invariants        1. a batch that has an intent is built as the intent says, whatever is
//!                   configured or known now.

use super::Mirror;
use crate::batching::{Batching, Timestamps};
use crate::lane::Lane;
use crate::progress::Intent;
use crate::time::Now;

impl Mirror {
    /// How a range of this lane is read and built.
    pub(super) fn batching<'a>(
        &'a self,
        lane: &Lane,
        intent: Option<&Intent>,
        now: &Now,
    ) -> Batching<'a> {
        let lanes = lane.progress.lanes;
        let own = (lanes > 1).then_some((lane.key.lane, lanes));
        let first_offset = lane.read_offset.max(lane.log_start_offset);
        // What an earlier process wrote knows another clock: a batch holds one or the other.
        let is_own = self.clock_shift_ms == 0 || first_offset >= lane.own_offset;
        let base = Batching {
            site: &self.options.site,
            source: lane.key.source,
            first_offset,
            end_offset: match is_own {
                true => lane.high_watermark,
                false => lane.high_watermark.min(lane.own_offset),
            },
            bytes_max: Some(self.options.batch_bytes),
            records_max: lane
                .narrow
                .map_or(usize::MAX, |(_, records_max)| records_max),
            lane: own,
            timestamps: lane.timestamps(now),
            shift_ms: if is_own { self.clock_shift_ms } else { 0 },
            gap_start: lane.gap_start(),
            compression: self.options.compression,
        };
        match intent {
            None => base,
            Some(intent) => Batching {
                first_offset: intent.first_offset,
                end_offset: intent.end_offset,
                bytes_max: None,
                records_max: usize::MAX,
                timestamps: Timestamps::from_built_ms(intent.built_ms),
                shift_ms: intent.shift_ms,
                gap_start: intent.gap_start,
                compression: intent.compression,
                ..base
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lane, Mirror, Now};
    use crate::mirror::SourceStart;
    use crate::options::Options;
    use crate::origin::Site;
    use crate::output::SourceKey;
    use crate::progress::LaneKey;
    use crate::schedule::Usage;
    use kafka_lite::primitive::Uuid;

    #[test]
    fn the_shift_of_the_clock_corrects_only_what_this_process_wrote() {
        let now = Now::default();
        let options = Options::new("m", Site::new("s", [0; 8]).unwrap(), Vec::new());
        let mut mirror = Mirror::new(&now, options, Usage::default(), 1);
        let source = SourceKey {
            topic_id: Uuid([1; 16]),
            partition: 0,
        };
        let start = SourceStart {
            topic: "t".to_owned(),
            partitions: 1,
            high_watermark: 10,
            ..SourceStart::default()
        };
        mirror.handle_source(&now, source, start);
        mirror.handle_source_moved(&now, source, 0, 20);
        let mut lane = mirror.lanes.remove(&LaneKey { source, lane: 0 }).unwrap();
        let range = |mirror: &Mirror, lane: &Lane| {
            let batching = mirror.batching(lane, None, &now);
            (
                batching.first_offset,
                batching.end_offset,
                batching.shift_ms,
            )
        };
        assert_eq!(range(&mirror, &lane), (0, 20, 0));
        mirror.handle_clock_set(5000);
        assert_eq!(range(&mirror, &lane), (0, 10, 0));
        lane.read_offset = 10;
        assert_eq!(range(&mirror, &lane), (10, 20, 5000));
    }
}
