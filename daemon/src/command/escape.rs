//! The grammar that all formats share: text, `\` escapes and `%` verbs.
//!
//! What it is        a format cut into pieces; the meaning of a verb belongs to the command.

/// A piece of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes as they are; never empty, never two in a row.
    Literal(Vec<u8>),
    /// A verb.
    Verb(Verb),
}

/// `%k` or `%k{modifier}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verb {
    pub(super) letter: char,
    pub(super) modifier: Option<String>,
}

impl Verb {
    /// The error of a verb that the command does not have.
    pub(super) fn unknown(&self, known: &str) -> String {
        match &self.modifier {
            Some(modifier) => format!(
                "`%{}{{{modifier}}}` has no meaning here; there are: {known}",
                self.letter
            ),
            None => format!("`%{}` has no meaning here; there are: {known}", self.letter),
        }
    }
}

/// Cuts a format into pieces.
pub(super) fn parse(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '\\' => push_byte(&mut pieces, escaped(&mut signs, text)?),
            '%' => {
                let letter = signs
                    .next()
                    .ok_or_else(|| format!("`{text}` ends with a lone %; write %% for one"))?;
                if letter == '%' {
                    push_byte(&mut pieces, b'%');
                    continue;
                }
                let modifier = modifier(&mut signs, text)?;
                pieces.push(Piece::Verb(Verb { letter, modifier }));
            }
            other => {
                let mut buffer = [0; 4];
                for byte in other.encode_utf8(&mut buffer).bytes() {
                    push_byte(&mut pieces, byte);
                }
            }
        }
    }
    Ok(pieces)
}

fn push_byte(pieces: &mut Vec<Piece>, byte: u8) {
    match pieces.last_mut() {
        Some(Piece::Literal(bytes)) => bytes.push(byte),
        _ => pieces.push(Piece::Literal(vec![byte])),
    }
}

/// What follows a backslash.
fn escaped(signs: &mut std::str::Chars<'_>, text: &str) -> Result<u8, String> {
    match signs.next() {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digits: String = signs.by_ref().take(2).collect();
            let byte = u8::from_str_radix(&digits, 16).ok();
            let byte = byte.filter(|_| digits.len() == 2);
            byte.ok_or_else(|| format!("`\\x{digits}` in `{text}` needs two hexadecimal digits"))
        }
        Some(other) => Err(format!(
            "`\\{other}` has no meaning here; there are: \\n \\t \\r \\0 \\\\ \\xNN"
        )),
        None => Err(format!(
            "`{text}` ends with a lone backslash; write \\\\ for one"
        )),
    }
}

/// `{...}` after a verb, if there.
fn modifier(signs: &mut std::str::Chars<'_>, text: &str) -> Result<Option<String>, String> {
    let Some(inside) = signs.as_str().strip_prefix('{') else {
        return Ok(None);
    };
    let (modifier, after) = inside
        .split_once('}')
        .ok_or_else(|| format!("`{text}` has a brace that is not closed"))?;
    *signs = after.chars();
    Ok(Some(modifier.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Piece, Verb, parse};

    #[test]
    fn literals_are_joined_and_verbs_stand_alone() {
        let verb = |letter, modifier: Option<&str>| {
            let modifier = modifier.map(str::to_owned);
            Piece::Verb(Verb { letter, modifier })
        };
        assert_eq!(
            parse("a\\tü%%%k{hex}%v\\x00"),
            Ok(vec![
                Piece::Literal("a\tü%".as_bytes().to_vec()),
                verb('k', Some("hex")),
                verb('v', None),
                Piece::Literal(vec![0]),
            ])
        );
        assert_eq!(parse(""), Ok(vec![]));
    }
}
