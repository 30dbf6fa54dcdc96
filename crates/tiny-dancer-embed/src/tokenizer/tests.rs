use super::*;
use crate::kernel::{Kernel, Work};
use proptest::prelude::*;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::tokenizer::{NormalizedString, Normalizer};
use unicode_normalization_alignments::char::canonical_combining_class;

/// BERT's vocabulary, from the table.
static VOCABULARY: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let tensors = safetensors::SafeTensors::deserialize(crate::table::SHIPPED).unwrap();
    let text = tensors.tensor("vocabulary").unwrap().data();
    std::str::from_utf8(text).unwrap().split('\n').collect()
});

static OURS: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::new(VOCABULARY.iter().copied()).unwrap());

static REFERENCE: LazyLock<tokenizers::Tokenizer> = LazyLock::new(|| reference(&VOCABULARY));

/// The crate `tokenizers` with the parts of BERT, uncased.
fn reference(vocabulary: &[&str]) -> tokenizers::Tokenizer {
    let vocabulary: HashMap<_, _> = vocabulary.iter().zip(0..).collect();
    let model = serde_json::json!({
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": vocabulary,
    });
    let model: WordPiece = serde_json::from_str(&model.to_string()).unwrap();
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_normalizer(Some(*NORMALIZER)).with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer
}

static NORMALIZER: LazyLock<BertNormalizer> = LazyLock::new(|| BertNormalizer::new(true, true, None, true));

struct Tokenize<'a>(&'a Tokenizer, &'a str, &'a mut Vec<u32>);

impl Work for Tokenize<'_> {
    type Output = ();

    fn run<I: Instructions>(self, instructions: I) {
        self.0.tokenize(instructions, self.1, self.2);
    }
}

fn ids(kernel: Kernel, tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    kernel.dispatch(Tokenize(tokenizer, text, &mut ids));
    ids
}

/// Compares all kernels with the reference.
#[track_caller]
fn check(ours: &Tokenizer, reference: &tokenizers::Tokenizer, text: &str) {
    let expected = reference.encode(text, false).unwrap();
    for kernel in Kernel::available() {
        let actual = ids(kernel, ours, text);
        assert_eq!(actual, expected.get_ids(), "{}: {text:?}: {:?}", kernel.name(), expected.get_tokens());
    }
    // The reader of long texts relies on it.
    assert!(expected.get_ids().len() <= text.len(), "{text:?}");
}

#[track_caller]
fn check_text(text: &str) {
    check(&OURS, &REFERENCE, text);
}

fn normalized(text: &str) -> Vec<String> {
    use tokenizers::{PreTokenizedString, PreTokenizer};
    let mut normalized = NormalizedString::from(text);
    NORMALIZER.normalize(&mut normalized).unwrap();
    let mut words = PreTokenizedString::from(normalized.get());
    BertPreTokenizer.pre_tokenize(&mut words).unwrap();
    let offsets = (tokenizers::OffsetReferential::Normalized, tokenizers::OffsetType::Byte);
    words.get_splits(offsets.0, offsets.1).into_iter().map(|(word, ..)| word.to_owned()).collect()
}

/// The table of characters, made from the reference.
fn table() -> String {
    let mut lines = Vec::new();
    for character in '\0'..=char::MAX {
        let class = canonical_combining_class(character);
        // Letters on both sides show whether a character is a word, joins words or separates them.
        let words = normalized(&format!("a{character}b"));
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let code_points =
            |text: &str| text.chars().map(|it| format!("{:X}", it as u32)).collect::<Vec<_>>().join(" ");
        let what = match words[..] {
            _ if ('\u{ac00}'..='\u{d7a3}').contains(&character) => "hangul".to_owned(),
            ["ab"] => {
                let only_clean = BertNormalizer::new(true, false, Some(false), false);
                let mut cleaned = NormalizedString::from(format!("a{character}b"));
                only_clean.normalize(&mut cleaned).unwrap();
                let is_accent = cleaned.get() != "ab";
                if is_accent && class == 0 { "break" } else { "drop" }.to_owned()
            }
            ["a", "b"] => "space".to_owned(),
            ["a", word, "b"] if word.chars().eq([character]) => "alone".to_owned(),
            ["a", ref words @ .., "b"] => code_points(&words.concat()),
            [word] => {
                let inner = &word[1..word.len() - 1];
                if !inner.chars().eq([character]) {
                    code_points(inner)
                } else if class > 0 {
                    format!("mark {class}")
                } else {
                    continue;
                }
            }
            _ => panic!("{character:?} {words:?}"),
        };
        lines.push((character as u32, character as u32, what));
    }
    lines.dedup_by(|next, line| {
        let joins = line.1 + 1 == next.0
            && line.2 == next.2
            && !next.2.starts_with(|it: char| it.is_ascii_hexdigit() && !it.is_ascii_lowercase());
        if joins {
            line.1 = next.1;
        }
        joins
    });
    let mut table = String::from(
        "# Made by a test of src/tokenizer/characters.rs, which explains it: BLESS=1 cargo test -p tiny-dancer-embed\n",
    );
    for (first, last, what) in lines {
        let last = if first == last { String::new() } else { format!("..{last:X}") };
        writeln!(table, "{first:X}{last} {what}").unwrap();
    }
    table
}

#[test]
fn the_table_of_characters_is_that_of_the_reference() {
    let table = table();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/table/characters.txt"), table).unwrap();
    } else {
        assert!(table == CHARACTERS, "renew it: BLESS=1 cargo test -p tiny-dancer-embed");
    }
}

#[test]
fn every_character_alone_between_letters_and_under_marks_has_the_ids_of_the_reference() {
    let all: Vec<char> = ('\0'..=char::MAX).collect();
    for some in all.chunks(64) {
        let mut text = String::new();
        for character in some {
            write!(text, "{character} a{character}b é{character}\u{302e}\u{1b44}c ").unwrap();
        }
        check_text(&text);
    }
}

#[test]
fn texts_that_people_write_have_the_ids_of_the_reference() {
    for text in [
        "",
        " \t\r\n",
        "Hello, World! It's 3.14 o'clock...",
        "Tokenization of antidisestablishmentarianism, unaffable hippopotomonstrosesquippedaliophobia",
        "naïve café São Tomé, Ελληνικά, Ärger über Öl; İstanbul ŞİŞLİ, Ǆ ǆ ǅ ﬁ ﬃ ß ẞ",
        "北京 is 中国's capital, 東京 2020, 서울 한국어, ひらがな カタカナ",
        "Привет, мир! Це українська їжа",
        "emoji 😀👍🏽 👨‍👩‍👧‍👦, \u{fffd}\u{0}\u{b}x\u{c}y\u{1f}z\u{7f}\u{85}\u{a0}\u{2028}\u{3000}end",
        "[CLS] [SEP] [MASK] [UNK] [PAD] ##ing # ## ###",
        "fn main() { println!(\"{:?}\", a[0] as u32 >> 3 & !1); } // <div class='x'>",
        "e\u{301}\u{302e}\u{1b44}\u{200d}\u{1b44}\u{34f}\u{302e}\u{1b44}x \u{302e}",
    ] {
        check_text(text);
    }
}

#[test]
fn words_of_every_length_at_every_place_have_the_ids_of_the_reference() {
    for length in 0..=140 {
        check_text(&"a".repeat(length));
        check_text(&"é".repeat(length));
        check_text(&"\u{1b44}".repeat(length));
        check_text(&format!("the{:length$}quick brown fox, é", ""));
        check_text(&format!("{}unbelievable running, jumps", ".".repeat(length)));
    }
}

/// Texts with all that the tokenizer distinguishes.
fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => prop::sample::select(&VOCABULARY[..]).prop_map(|it| it.trim_start_matches("##").to_owned()),
        2 => "[a-zA-Z0-9]{1,20}",
        2 => "[ -~]{0,8}",
        2 => Just(" ".to_owned()),
        1 => prop::collection::vec(any::<char>(), 0..4).prop_map(String::from_iter),
        1 => "[\\u{0}-\\u{24f}]{0,4}",
        1 => "[\\u{250}-\\u{2fff}]{0,4}",
        1 => "[\\u{3000}-\\u{ffff}]{0,4}",
        1 => "[\\u{300}-\\u{36f}\\u{302e}\\u{302f}\\u{1b44}\\u{1d165}\\u{1d16d}\\u{200d}\\u{34f}\\u{b}]{0,4}",
        1 => Just("a".repeat(60)),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

/// The cases of a property: as many as the environment says, as for all properties of proptest, or this number.
fn cases(cases: u32) -> ProptestConfig {
    let cases =
        if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { cases };
    ProptestConfig { failure_persistence: None, cases, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(2000))]

    // PROPTEST_CASES=1000000 runs a million.
    #[test]
    fn generated_texts_have_the_ids_of_the_reference(text in texts()) {
        check_text(&text);
    }

    #[test]
    fn small_vocabularies_split_as_the_reference_does(
        starts in prop::collection::hash_set("[abé]{1,6}", 0..12),
        continuations in prop::collection::hash_set("##[abé]{1,6}", 0..12),
        words in prop::collection::vec("[abé]{1,24}", 1..20),
    ) {
        let vocabulary: Vec<&str> =
            starts.iter().chain(&continuations).map(String::as_str).chain(["[UNK]", "e", "##e"]).collect();
        let ours = Tokenizer::new(vocabulary.iter().copied()).unwrap();
        check(&ours, &reference(&vocabulary), &words.join(" "));
    }
}

#[test]
fn a_vocabulary_without_unk_or_with_equal_tokens_is_refused() {
    let flaw = |tokens: &[&'static str]| Tokenizer::new(tokens.iter().copied()).err();
    assert_eq!(flaw(&["a", "b"]), Some(Flaw::MissingUnknown));
    assert_eq!(flaw(&["[UNK]", "a", "b", "a"]), Some(Flaw::Repeated { first: 1, second: 3 }));
    assert_eq!(flaw(&["##a", "[UNK]", "a", "##a"]), Some(Flaw::Repeated { first: 0, second: 3 }));
    assert_eq!(flaw(&["[UNK]", "a", "##a"]), None);
}

#[test]
fn real_prompts_have_the_ids_of_the_reference() {
    let Some(folder) = std::env::var_os("TINY_DANCER_DATA") else {
        eprintln!("SKIPPED: TINY_DANCER_DATA is not set, so there are no real prompts");
        return;
    };
    let mut prompts = 0;
    for file in ["routellm.jsonl.zst", "mmlu-pro.jsonl.zst", "dcrouter.jsonl.zst"] {
        let file = std::fs::File::open(std::path::Path::new(&folder).join(file)).unwrap();
        for line in std::io::BufRead::lines(std::io::BufReader::new(zstd::Decoder::new(file).unwrap())) {
            let row: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            check_text(row["prompt"].as_str().unwrap());
            prompts += 1;
        }
    }
    assert!(prompts > 29_000, "{prompts}");
}
