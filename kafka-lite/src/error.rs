//! What can go wrong between bytes and messages.
//!
//! What it is        one enum per direction: the peer sent nonsense (`DecodeError`, close the
//!                   connection), or a value has no form in the chosen version (`EncodeError`).
//! What it is not    the error codes inside responses; those are in `error_code`.

use core::fmt;

/// Says that bytes are not the message they claim to be. The connection must be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// Names of the fields from the innermost to the outermost; empty for the message itself.
    path: Vec<&'static str>,
    /// What the schema or the limits ask for.
    pub expected: &'static str,
    /// The number that was found: a length, a count, a tag or a remaining byte count.
    pub got: i64,
    /// Bytes from the start of the decoded part to the place of the error.
    pub position: usize,
}

impl DecodeError {
    /// Creates an error without a field; callers add the path with [`DecodeError::within`].
    #[must_use]
    pub const fn new(expected: &'static str, got: i64, position: usize) -> Self {
        Self {
            path: Vec::new(),
            expected,
            got,
            position,
        }
    }

    /// Adds the name of the enclosing field.
    #[must_use]
    pub fn within(mut self, field: &'static str) -> Self {
        self.path.push(field);
        self
    }

    /// Returns the path of the field from the outermost name, joined by dots.
    #[must_use]
    pub fn field(&self) -> String {
        let names: Vec<&str> = self.path.iter().rev().copied().collect();
        names.join(".")
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field();
        let field = if field.is_empty() {
            "message"
        } else {
            field.as_str()
        };
        let Self {
            expected,
            got,
            position,
            ..
        } = self;
        write!(
            f,
            "{field}: expected {expected}, got {got} at byte {position}"
        )
    }
}

impl core::error::Error for DecodeError {}

/// Says that a message has no form on the wire in the chosen version: a fault of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeError {
    path: Vec<&'static str>,
    /// Why the value cannot be written.
    pub reason: &'static str,
}

impl EncodeError {
    /// Creates an error without a field; callers add the path with [`EncodeError::within`].
    #[must_use]
    pub const fn new(reason: &'static str) -> Self {
        Self {
            path: Vec::new(),
            reason,
        }
    }

    /// Adds the name of the enclosing field.
    #[must_use]
    pub fn within(mut self, field: &'static str) -> Self {
        self.path.push(field);
        self
    }

    /// Returns the path of the field from the outermost name, joined by dots.
    #[must_use]
    pub fn field(&self) -> String {
        let names: Vec<&str> = self.path.iter().rev().copied().collect();
        names.join(".")
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field();
        let field = if field.is_empty() {
            "message"
        } else {
            field.as_str()
        };
        write!(f, "{field}: cannot be encoded, {}", self.reason)
    }
}

impl core::error::Error for EncodeError {}
