//! kafka-lite
#![forbid(unsafe_code)]
