use super::*;

fn backoff(first: u64, longest: u64) -> Backoff {
    let [first, longest] = [first, longest].map(Duration::from_millis);
    Backoff { first, longest, ..Default::default() }
}

#[test]
fn delays_double_up_to_the_longest_and_chance_removes_at_most_half() {
    let backoff = backoff(100, 1_000);
    let delays =
        |random| [1, 2, 3, 4, 5, u32::MAX].map(|failures| backoff.delay(failures, random).as_millis());
    assert_eq!(delays(0.0), [100, 200, 400, 800, 1_000, 1_000]);
    assert_eq!(delays(1.0), [50, 100, 200, 400, 500, 500]);
}

#[test]
fn the_delay_in_retry_after_is_in_seconds_or_until_a_date() {
    let delay = |text: &str| {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
        // 13 November 1994, 08:49:07
        retry_after(&headers, 784_716_547)
    };
    assert_eq!(delay("120"), Some(Duration::from_secs(120)));
    assert_eq!(delay("0"), Some(Duration::ZERO));
    assert_eq!(delay("Sun, 13 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(30)));
    assert_eq!(delay("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    for text in ["soon", "-1", "1.5", ""] {
        assert_eq!(delay(text), None, "{text}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), 0), None);
}

#[test]
fn the_delay_in_retry_after_has_a_limit() {
    let answer = |status: u16, delay: &str| {
        let answer = http::Response::builder().status(status).header(RETRY_AFTER, delay).body("").unwrap();
        Failure::answered(&Response::from(answer), 0, &Backoff::default()).again
    };
    assert_eq!(answer(429, "7"), Again::After(Duration::from_secs(7)));
    assert_eq!(answer(503, "3600"), Again::After(Duration::from_secs(30)));
    assert_eq!(answer(503, "Sun, 06 Nov 1994 08:49:37 GMT"), Again::After(Duration::from_secs(30)));
    assert_eq!(answer(502, "soon"), Again::Soon);
    assert_eq!(answer(400, "7"), Again::Never);
    assert_eq!(answer(500, "7"), Again::Never);
}

#[test]
fn an_answer_of_grpc_is_recognized() {
    for status in [200, 415, 503] {
        let answer =
            http::Response::builder().status(status).header(CONTENT_TYPE, "application/grpc").body("");
        let failure = Failure::answered(&Response::from(answer.unwrap()), 0, &Backoff::default());
        assert!(matches!(failure, Failure { cause: Cause::Grpc, again: Again::Never }), "{failure:?}");
    }
}

#[test]
fn a_loopback_address_is_this_machine_under_each_of_its_names() {
    let is_loopback = |host: &str| super::is_loopback(&Url::parse(&format!("http://{host}/")).unwrap());
    for host in
        ["localhost", "LocalHost:4318", "otel.localhost", "127.0.0.1", "127.9.9.9:1", "[::1]:4318", "127.1"]
    {
        assert!(is_loopback(host), "{host}");
    }
    for host in ["localhost.example.com", "10.0.0.1", "128.0.0.1", "[::2]", "notlocalhost"] {
        assert!(!is_loopback(host), "{host}");
    }
}

#[test]
fn the_location_of_a_redirect_is_shown_without_credentials() {
    let headers =
        HeaderMap::from_iter([(LOCATION, HeaderValue::from_static("http://me:word@elsewhere/?k=v"))]);
    assert_eq!(location(&headers), "http://***@elsewhere/?***");
    assert_eq!(location(&HeaderMap::new()), "nowhere");
}

#[test]
fn no_value_of_a_header_is_shown_by_debug() {
    let headers = BTreeMap::from([("authorization".to_owned(), "secret".to_owned())]);
    let url = Url::parse("http://localhost:4318/v1/traces").unwrap();
    let target = Target { url, http: Http { headers, gzip: false, timeout: Duration::from_secs(1) } };
    let poster =
        Poster::new(&target, BatchReports::default(), Deadline::default(), Backoff::default()).unwrap();
    let shown = format!("{poster:?}");
    assert!(shown.contains("authorization") && !shown.contains("secret"), "{shown}");
}

/// A poster to a port on which no program listens.
fn to_nowhere(backoff: Backoff, deadline: Deadline) -> Poster {
    let url = Url::parse("http://127.0.0.1:1/v1/traces").unwrap();
    let http = Http { headers: BTreeMap::new(), gzip: false, timeout: Duration::from_secs(60) };
    Poster::new(&Target { url, http }, BatchReports::default(), deadline, backoff).unwrap()
}

/// Posts an empty message, and returns the error and the number of attempts.
fn attempts(poster: &Poster) -> (String, u32) {
    let error = poster.send(&ExportTraceServiceRequest::default()).unwrap_err();
    (error, poster.failures.load(Ordering::Relaxed))
}

#[test]
fn attempts_end_after_their_total_time() {
    let backoff = Backoff { total: Duration::from_millis(20), ..backoff(1, 1) };
    let (error, attempts) = attempts(&to_nowhere(backoff, Deadline::default()));
    assert!(attempts > 1, "{attempts}");
    assert!(error.contains("http://127.0.0.1:1/v1/traces: ") && error.contains("refused"), "{error}");
}

#[test]
fn attempts_end_where_the_next_one_would_come_after_the_shutdown_s_deadline() {
    let deadline = Deadline::default();
    let poster = to_nowhere(backoff(7_200_000, 7_200_000), deadline.clone());
    deadline.set(Duration::from_secs(3_600));
    assert_eq!(attempts(&poster).1, 1);
    deadline.set(Duration::ZERO);
    let (error, attempts) = attempts(&poster);
    assert_eq!(attempts, 1, "there was another attempt");
    assert!(error.contains("deadline"), "{error}");
}
