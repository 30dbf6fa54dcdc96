//! Which headers pass the gateway.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use std::time::{Duration, SystemTime};

/// Headers of one connection (RFC 9110, section 7.6.1), in addition to those that `Connection` names.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers of a request that are the gateway's own: the client's key, the address, the length of the body, the trace.
const OWN: [&str; 9] = [
    "authorization",
    "content-length",
    "cookie",
    "expect",
    "host",
    "traceparent",
    "tracestate",
    "x-api-key",
    "x-tiny-dancer-conversation",
];

/// The headers of a client's request that a model gets.
pub(crate) fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(headers);
    let mut forwarded = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let is_own = OWN.contains(&name.as_str());
        if !is_own && !HOP_BY_HOP.contains(&name.as_str()) && !named.contains(name) {
            forwarded.append(name.clone(), value.clone());
        }
    }
    forwarded
}

/// The headers of a model's answer that the client gets. A model's cookies are for the gateway's connection.
pub(crate) fn returned(headers: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(headers);
    let mut returned = HeaderMap::with_capacity(headers.len() + 6);
    for (name, value) in headers {
        if !HOP_BY_HOP.contains(&name.as_str()) && !named.contains(name) && name != header::SET_COOKIE {
            returned.append(name.clone(), value.clone());
        }
    }
    returned
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// The client's key: of `OpenAI`'s libraries or of Anthropic's.
pub(crate) fn key(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
        let (scheme, key) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key.trim_ascii())
    });
    bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes))
}

/// The wait that an answer names, in seconds or until a date (RFC 9110, section 10.2.3). A wait until a date begins at the date of
/// the answer, so the clocks may differ; `now` is used without one. A date that has passed is no wait.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let date = |text| httpdate::parse_http_date(text).ok();
    let value = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = value.parse() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let from = text(header::DATE).and_then(date).unwrap_or(now);
    Some(date(value)?.duration_since(from).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn headers_of_a_connection_and_keys_are_not_forwarded() {
        let all = headers(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("authorization", "Bearer client"),
            ("x-api-key", "client"),
            ("te", "trailers"),
            ("anthropic-version", "2023-06-01"),
            ("content-type", "application/json"),
        ]);
        let kept = headers(&[("anthropic-version", "2023-06-01"), ("content-type", "application/json")]);
        assert_eq!(forwarded(&all), kept);
        let answer = headers(&[("connection", "keep-alive"), ("set-cookie", "a=b"), ("x-request-id", "7")]);
        assert_eq!(returned(&answer), headers(&[("x-request-id", "7")]));
    }

    #[test]
    fn a_key_is_read_from_the_headers_of_either_interface() {
        assert_eq!(key(&headers(&[("authorization", "bearer  k ")])), Some(&b"k"[..]));
        assert_eq!(key(&headers(&[("x-api-key", "k")])), Some(&b"k"[..]));
        assert_eq!(key(&headers(&[("authorization", "Basic k")])), None);
    }

    #[test]
    fn a_wait_is_read_in_seconds() {
        let wait = |value| retry_after(&headers(&[("retry-after", value)]), SystemTime::UNIX_EPOCH);
        assert_eq!(wait("20"), Some(Duration::from_secs(20)));
        assert_eq!(wait("0.5"), Some(Duration::from_millis(500)));
        assert_eq!((wait("-1"), wait("soon")), (None, None));
    }

    #[test]
    fn a_wait_until_a_date_is_read_by_the_date_of_the_answer() {
        // The example of RFC 9110, section 5.6.7, in its three formats.
        let dates =
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"];
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 7);
        for date in dates {
            let wait = retry_after(&headers(&[("retry-after", date)]), now);
            assert_eq!(wait, Some(Duration::from_secs(7)), "{date}");
            let answer = [("retry-after", date), ("date", "Sun, 06 Nov 1994 08:49:07 GMT")];
            assert_eq!(retry_after(&headers(&answer), now), Some(Duration::from_secs(30)), "{date}");
        }
        let past = [("retry-after", dates[0]), ("date", "Sun, 06 Nov 1994 08:50:00 GMT")];
        assert_eq!(retry_after(&headers(&past), now), Some(Duration::ZERO));
    }
}
