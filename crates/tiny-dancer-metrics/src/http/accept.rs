//! What a client accepts, by RFC 9110: the most specific word decides, and a weight of 0 excludes.

use axum::http::{HeaderMap, HeaderName, header};

/// Whether the client accepts text. Parameters such as versions are ignored, since the answer names its version.
pub(super) fn text(headers: &HeaderMap) -> bool {
    accepts(headers, header::ACCEPT, &["text/plain", "text/*", "*/*"]).unwrap_or(true)
}

/// Whether the client accepts gzip.
pub(super) fn gzip(headers: &HeaderMap) -> bool {
    accepts(headers, header::ACCEPT_ENCODING, &["gzip", "*"]).unwrap_or(false)
}

/// Whether the first of these words that occurs has a weight above 0. `None` without the header.
fn accepts(headers: &HeaderMap, name: HeaderName, words: &[&str]) -> Option<bool> {
    if !headers.contains_key(&name) {
        return None;
    }
    // A header that is not text is ignored.
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let offers: Vec<(&str, f32)> = values.flat_map(|value| value.split(',')).map(offer).collect();
    let weight = |word: &&str| {
        let of_word = offers.iter().filter(|(offered, _)| offered.eq_ignore_ascii_case(word));
        of_word.map(|&(_, weight)| weight).max_by(f32::total_cmp)
    };
    Some(words.iter().find_map(weight).is_some_and(|weight| weight > 0.0))
}

/// A word and its weight, 1 by default.
fn offer(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let word = parts.next().unwrap_or_default();
    let mut weights = parts.filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse().unwrap_or(0.0))
    });
    (word, weights.next().unwrap_or(1.0))
}

#[cfg(test)]
mod tests;
