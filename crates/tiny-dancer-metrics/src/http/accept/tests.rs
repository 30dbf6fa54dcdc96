use super::*;

fn headers(name: HeaderName, value: &str) -> HeaderMap {
    [(name, value.parse().unwrap())].into_iter().collect()
}

#[test]
fn text_is_accepted_unless_the_client_excludes_it() {
    let prometheus =
        "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for accept in [prometheus, "*/*", "text/*;q=0.1", "TEXT/Plain", "application/json, */*;q=0.1"] {
        assert!(text(&headers(header::ACCEPT, accept)), "{accept}");
    }
    assert!(text(&HeaderMap::new()));
    for accept in
        ["application/json", "text/plain;q=0, */*", "application/openmetrics-text", "text/plain;q=no", ""]
    {
        assert!(!text(&headers(header::ACCEPT, accept)), "{accept}");
    }
}

#[test]
fn only_a_client_that_accepts_gzip_gets_it() {
    for accept in ["gzip", "deflate, gzip;q=0.5", "*", "GZIP", "br;q=1.0, *;q=0.1"] {
        assert!(gzip(&headers(header::ACCEPT_ENCODING, accept)), "{accept}");
    }
    assert!(!gzip(&HeaderMap::new()));
    for accept in ["identity", "gzip;q=0", "gzip;q=0, *", "x-gzipped", ""] {
        assert!(!gzip(&headers(header::ACCEPT_ENCODING, accept)), "{accept}");
    }
}

#[test]
fn a_header_may_come_in_several_lines() {
    let mut headers = headers(header::ACCEPT_ENCODING, "br");
    headers.append(header::ACCEPT_ENCODING, "gzip".parse().unwrap());
    assert!(gzip(&headers));
}
