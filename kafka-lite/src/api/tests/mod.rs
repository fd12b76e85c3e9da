//! Tests of the message tables: against an independent codec, hostile bytes, and known traps.

mod hostile;
mod oracle;
mod section_8;
