//! Server-sent events, as they are in the bytes of an answer.

/// The most bytes of one event that are kept until its end. Of a longer one nothing is read.
const LONGEST: usize = 1 << 20;

/// Splits the bytes of an answer into events: each chunk as it comes, wherever it is cut.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// The beginning of the event that is not complete.
    pending: Vec<u8>,
    /// Whether that event is too long to be read.
    too_long: bool,
}

impl Events {
    /// Appends to `out` what `keep` leaves of the events that this chunk completes. `keep` gets the data of an event.
    pub(crate) fn split(&mut self, chunk: &[u8], out: &mut Vec<u8>, mut keep: impl FnMut(&[u8]) -> bool) {
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(line);
            if self.pending.len() > LONGEST {
                self.too_long = true;
            }
            if self.too_long {
                let ends = ends(&self.pending);
                out.append(&mut self.pending);
                // An end that is split over two chunks is missed, and the next event with it.
                self.too_long = !ends;
            } else if ends(&self.pending) {
                if data(&self.pending).is_none_or(|data| keep(&data)) {
                    out.extend_from_slice(&self.pending);
                }
                self.pending.clear();
            }
        }
    }

    /// The bytes of the event that is not complete.
    pub(crate) fn take_pending(&mut self) -> Vec<u8> {
        self.too_long = false;
        std::mem::take(&mut self.pending)
    }
}

/// Whether an event ends here: after an empty line.
fn ends(event: &[u8]) -> bool {
    event.ends_with(b"\n\n") || event.ends_with(b"\n\r\n") || matches!(event, b"\n" | b"\r\n")
}

/// The data of an event: its lines of that name, joined by line feeds.
fn data(event: &[u8]) -> Option<Vec<u8>> {
    let mut data: Option<Vec<u8>> = None;
    for line in event.split(|byte| *byte == b'\n') {
        let Some(value) = line.strip_prefix(b"data:") else { continue };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        match &mut data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => data = Some(value.to_vec()),
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a text in chunks of `size` bytes without the events whose data is `b`, and all data.
    fn split(text: &str, size: usize) -> (String, Vec<String>) {
        let (mut events, mut out, mut seen) = (Events::default(), Vec::new(), Vec::new());
        for chunk in text.as_bytes().chunks(size) {
            events.split(chunk, &mut out, |data| {
                seen.push(String::from_utf8(data.to_vec()).unwrap());
                data != b"b"
            });
        }
        out.extend(events.take_pending());
        (String::from_utf8(out).unwrap(), seen)
    }

    #[test]
    fn an_event_is_left_out_wherever_the_chunks_are_split() {
        for end in ["\n", "\r\n"] {
            let text = [
                "data: a",
                "",
                ": comment",
                "",
                "event: x",
                "data:b",
                "",
                "data: c",
                "data: d",
                "",
                "data: e",
            ];
            let text = text.join(end);
            let expected = text.replace(&format!("event: x{end}data:b{end}{end}"), "");
            for size in 1..=text.len() {
                let (left, seen) = split(&text, size);
                assert_eq!((left, seen.join(" ")), (expected.clone(), "a b c\nd".to_owned()), "{size}");
            }
        }
    }

    #[test]
    fn an_event_that_is_too_long_passes_unread_and_the_next_one_is_read() {
        let text = format!("data: {}\n\ndata: b\n\ndata: c\n\n", "x".repeat(LONGEST));
        let (left, seen) = split(&text, 4096);
        assert_eq!(
            (left, &seen[..]),
            (text.replace("data: b\n\n", ""), &["b".to_owned(), "c".to_owned()][..])
        );
    }
}
