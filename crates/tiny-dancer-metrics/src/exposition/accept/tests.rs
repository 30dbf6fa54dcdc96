use super::*;

const OPEN: Option<Format> = Some(Format::OpenMetrics { created: false });

#[test]
fn the_larger_weight_decides_and_of_equal_ones_openmetrics() {
    let of_prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
        text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let open =
        ["application/openmetrics-text", "APPLICATION/OpenMetrics-Text; version=\"1.0.0\", text/plain"];
    for accept in [of_prometheus, "application/*", open[0], open[1]] {
        assert_eq!(format(accept), OPEN, "{accept}");
    }
    for accept in [
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "*/*",
        "text/*;q=0.1",
        "TEXT/Plain",
        "application/json, */*;q=0.1",
        "application/openmetrics-text;q=0.4, text/plain;q=0.5",
        "application/openmetrics-text;version=0.0.1, text/plain;q=0.5",
        "application/openmetrics-text;q=0, */*;q=0.1",
        "",
    ] {
        assert_eq!(format(accept), Some(Format::Text), "{accept}");
    }
    for accept in [
        "application/json",
        "text/plain;q=0, */*",
        "text/plain;q=no",
        "application/openmetrics-text;version=0.0.1",
        ";",
    ] {
        assert_eq!(format(accept), None, "{accept}");
    }
}

#[cfg(feature = "axum")]
#[test]
fn only_a_client_that_accepts_gzip_gets_it() {
    for accept in ["gzip", "deflate, gzip;q=0.5", "*", "GZIP", "br;q=1.0, *;q=0.1"] {
        assert!(accepts_gzip(accept), "{accept}");
    }
    for accept in ["identity", "gzip;q=0", "gzip;q=0, *", "x-gzipped", ""] {
        assert!(!accepts_gzip(accept), "{accept}");
    }
}
