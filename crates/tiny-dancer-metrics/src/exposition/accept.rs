//! What a client accepts, by RFC 9110: the most specific word decides, and a weight of 0 excludes.

use super::Format;

/// The format for a header `Accept`. Of equal weights OpenMetrics wins, if the client names it.
pub(super) fn format(accept: &str) -> Option<Format> {
    let offers = offers(accept);
    let weight = |words: &[&str]| {
        let of_word = |word: &&str| {
            let named =
                offers.iter().filter(|offer| offer.word.eq_ignore_ascii_case(word) && offer.is_known());
            named.map(|offer| offer.weight).max_by(f32::total_cmp)
        };
        words.iter().find_map(of_word).unwrap_or(0.0)
    };
    let open = weight(&["application/openmetrics-text", "application/*"]);
    let text = weight(&["text/plain", "text/*", "*/*"]);
    if accept.trim().is_empty() || (text > 0.0 && text > open) {
        Some(Format::Text)
    } else {
        (open > 0.0).then_some(Format::OpenMetrics { created: false })
    }
}

/// Whether a client with this header `Accept-Encoding` accepts gzip.
#[cfg(feature = "axum")]
pub(crate) fn accepts_gzip(accept_encoding: &str) -> bool {
    let offers = offers(accept_encoding);
    let weight = |word: &&str| {
        let named = offers.iter().filter(|offer| offer.word.eq_ignore_ascii_case(word));
        named.map(|offer| offer.weight).max_by(f32::total_cmp)
    };
    ["gzip", "*"].iter().find_map(weight).is_some_and(|weight| weight > 0.0)
}

struct Offer<'a> {
    word: &'a str,
    version: Option<&'a str>,
    /// 1 by default.
    weight: f32,
}

impl Offer<'_> {
    /// Whether the version, if there is one, can be answered. Any version of text can: an answer names its own, as Prometheus
    /// permits.
    fn is_known(&self) -> bool {
        let is_open = self.word.eq_ignore_ascii_case("application/openmetrics-text");
        !is_open || self.version.is_none_or(|version| version.starts_with("1."))
    }
}

fn offers(header: &str) -> Vec<Offer<'_>> {
    header.split(',').map(offer).collect()
}

fn offer(text: &str) -> Offer<'_> {
    let mut parts = text.split(';').map(str::trim);
    let mut offer = Offer { word: parts.next().unwrap_or_default(), version: None, weight: 1.0 };
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        if name.eq_ignore_ascii_case("q") {
            offer.weight = value.parse().unwrap_or(0.0);
        } else if name.eq_ignore_ascii_case("version") {
            offer.version = Some(value);
        }
    }
    offer
}

#[cfg(test)]
mod tests;
