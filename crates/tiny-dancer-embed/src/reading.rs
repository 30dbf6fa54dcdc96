//! What is read of a long text: its beginning and its end.

/// The most bytes that are read of a text: all of a shorter one, and of a longer one the first and the last half of this.
///
/// The question or the instruction stands at the beginning or at the end of a long prompt, and pasted documents between. 16 KiB
/// are about five printed pages, more than the windows of the usual sentence models (256 to 512 tokens) hold. So the time
/// of one text is bounded, however long it is.
pub const MAX_BYTES: usize = 16 << 10;

/// A cut is at whitespace, if some is that near, so that no word is halved.
const NEAR: usize = 128;

/// The parts of a text that are read, and whether that is less than all of it.
pub(crate) fn parts(text: &str) -> ([&str; 2], bool) {
    if text.len() <= MAX_BYTES {
        return ([text, ""], false);
    }
    let bytes = text.as_bytes();
    let end = text.floor_char_boundary(MAX_BYTES / 2);
    let start = text.ceil_char_boundary(text.len() - MAX_BYTES / 2);
    let end =
        bytes[end - NEAR..=end].iter().rposition(u8::is_ascii_whitespace).map_or(end, |at| end - NEAR + at);
    let start = bytes[start - 1..start + NEAR]
        .iter()
        .position(u8::is_ascii_whitespace)
        .map_or(start, |at| start + at);
    ([&text[..end], &text[start..]], true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> [&str; 2] {
        let (parts, truncated) = parts(text);
        assert_eq!(truncated, text.len() > MAX_BYTES);
        assert!(text.starts_with(parts[0]) && text.ends_with(parts[1]));
        for part in parts {
            assert!(part.len() <= MAX_BYTES / 2 && part.len() >= MAX_BYTES / 2 - NEAR - 4, "{}", part.len());
        }
        parts
    }

    #[test]
    fn a_text_up_to_the_limit_is_read_whole() {
        let text = "a ".repeat(MAX_BYTES / 2);
        assert_eq!(parts(&text), ([&*text, ""], false));
        check(&format!("{text}a"));
    }

    #[test]
    fn a_longer_text_is_cut_between_words_where_words_are_short() {
        for shift in 0..8 {
            let text = format!("{}{}", "x".repeat(shift), " 1234567".repeat(MAX_BYTES));
            let [first, last] = check(&text);
            assert!(first.ends_with(" 1234567") && last.starts_with("1234567"), "{shift}");
        }
    }

    #[test]
    fn a_text_without_spaces_is_cut_between_characters() {
        for shift in 0..8 {
            check(&format!("{}{}", "x".repeat(shift), "語😀é".repeat(MAX_BYTES)));
        }
    }
}
