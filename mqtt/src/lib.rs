//! MQTT as rules: what a server of MQTT 3.1, 3.1.1 and 5 has to do, over a Kafka log.
//!
//! What it is        framing, the state of a connection and of a session, topic filters, the
//!                   mapping from MQTT topics to Kafka topics, and the form of a message as a
//!                   Kafka record.
//! What it is not    sockets, clocks, logs, threads: bytes and `now` come in, bytes and orders go
//!                   out. The packets themselves are decoded by the crate `mqtt-proto`.
//! Invariants        1. a PUBACK or PUBREC leaves only after `handle_published` said that the
//!                      message is committed.
//!                   2. nothing is allocated by a length that was not checked against a limit.
//! Source            MQTT 3.1.1 and MQTT 5.0 (OASIS); numbers in brackets are its statements.
//! Reading order     [`framing`], [`packet`], [`connection`], then [`filter`], [`mapping`],
//!                   [`record`].
#![forbid(unsafe_code)]

pub mod bridge;
pub mod connection;
pub mod encode;
pub mod filter;
pub mod framing;
pub mod inbound;
pub mod limits;
pub mod mapping;
pub mod message;
pub mod outbound;
pub mod packet;
pub mod password;
pub mod reason;
pub mod record;
pub mod session;
pub mod share;
pub mod websocket;
