//! A piece of text with places that are filled from a message.

use std::fmt::Write as _;

/// Text and places, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Topic,
    Client,
    /// Number of a wildcard, from 0.
    Wildcard(usize),
}

/// What fills the places.
pub(super) struct Filling<'a> {
    pub(super) topic: &'a str,
    pub(super) client_id: &'a str,
    pub(super) wildcards: &'a [&'a str],
}

impl Template {
    /// Reads a template for a filter with this many wildcards. The error says what is wrong.
    pub(super) fn parse(text: &str, wildcards: usize) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after
                .split_once('}')
                .ok_or_else(|| format!("`{text}` has no }} behind {{"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::parse(name, wildcards)?);
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The text of one message.
    pub(super) fn fill(&self, filling: &Filling<'_>) -> String {
        let mut text = String::new();
        for part in &self.parts {
            text.push_str(match part {
                Part::Text(text) => text,
                Part::Topic => filling.topic,
                Part::Client => filling.client_id,
                Part::Wildcard(number) => filling.wildcards.get(*number).copied().unwrap_or(""),
            });
        }
        text
    }

    /// Whether `text` could come out, whatever fills the places; `fixed` changes the fixed text as
    /// it is changed in the result.
    pub(super) fn could_be(&self, text: &str) -> bool {
        let mut rest = text;
        let mut after_place = false;
        for part in &self.parts {
            let Part::Text(fixed) = part else {
                after_place = true;
                continue;
            };
            let found = if after_place {
                rest.find(&**fixed)
            } else {
                rest.starts_with(&**fixed).then_some(0)
            };
            let Some(after) = found.and_then(|place| rest.get(place + fixed.len()..)) else {
                return false;
            };
            rest = after;
            after_place = false;
        }
        after_place || rest.is_empty() || self.ends_with_text(text)
    }

    /// The last fixed text may stand more than once: what counts is that it ends the name.
    fn ends_with_text(&self, text: &str) -> bool {
        let has_place = self.parts.iter().any(|part| !matches!(part, Part::Text(_)));
        match self.parts.last() {
            Some(Part::Text(fixed)) => has_place && text.ends_with(&**fixed),
            _ => false,
        }
    }

    /// The fixed text with the places left out, to check it.
    pub(super) fn fixed_text(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            if let Part::Text(fixed) = part {
                // Writing to a String does not fail.
                let _written: std::fmt::Result = text.write_str(fixed);
            }
        }
        text
    }

    /// Whether there is no place to fill.
    pub(super) fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }
}

impl Part {
    fn parse(name: &str, wildcards: usize) -> Result<Self, String> {
        match name {
            "topic" => return Ok(Self::Topic),
            "client" => return Ok(Self::Client),
            _ => {}
        }
        let number = name
            .parse::<usize>()
            .ok()
            .and_then(|one| one.checked_sub(1));
        match number {
            Some(number) if number < wildcards => Ok(Self::Wildcard(number)),
            Some(_) => Err(format!("{{{name}}}: the filter has {wildcards} wildcards")),
            None => Err(format!(
                "{{{name}}}: {{topic}}, {{client}} or a number is expected"
            )),
        }
    }
}
