//! Tests of the message tables: an independent codec, real frames, hostile bytes, traps.

mod golden;
mod hostile;
mod oracle;
mod section_8;
