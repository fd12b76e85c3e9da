//! replication
#![forbid(unsafe_code)]
