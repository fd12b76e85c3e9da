//! Bytes of records as JSON.
//!
//! What it is        text where the bytes are UTF-8; else base64 under a name that says so.

use std::io::{self, Write};

use super::format::base64;

/// Writes a string, or `null`; bytes that are not UTF-8 become replacement signs.
pub(super) fn write_text(bytes: Option<&[u8]>, out: &mut impl Write) -> io::Result<()> {
    let text = bytes.map(String::from_utf8_lossy);
    Ok(serde_json::to_writer(out, &text)?)
}

/// Writes `name":` and the bytes, or `name_base64":` and their base64; `name` starts with what
/// stands before it and the opening quote.
pub(super) fn write_bytes(
    name: &str,
    bytes: Option<&[u8]>,
    out: &mut impl Write,
) -> io::Result<()> {
    match bytes.map(std::str::from_utf8) {
        Some(Err(_)) => {
            let text = base64(bytes.unwrap_or_default());
            write!(out, "{name}_base64\":\"{text}\"")
        }
        Some(Ok(_)) | None => {
            write!(out, "{name}\":")?;
            write_text(bytes, out)
        }
    }
}
