use super::*;
use crate::error::EmbedErrorKind;
use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::sync::LazyLock;

static SHIPPED: LazyLock<StaticEmbedder> = LazyLock::new(StaticEmbedder::new);

/// A table of these tokens, with a scale and a row each.
fn table<const D: usize>(tokens: &[(&str, f32, [i8; D])]) -> StaticEmbedder {
    let vocabulary = tokens.iter().map(|it| it.0).collect::<Vec<_>>().join("\n");
    let scales: Vec<u8> = tokens.iter().flat_map(|it| it.1.to_le_bytes()).collect();
    let rows: Vec<u8> = tokens.iter().flat_map(|it| it.2.map(|x| x as u8)).collect();
    let tensors = [
        ("rows", TensorView::new(Dtype::I8, vec![tokens.len(), D], &rows).unwrap()),
        ("scales", TensorView::new(Dtype::F32, vec![tokens.len()], &scales).unwrap()),
        ("vocabulary", TensorView::new(Dtype::U8, vec![vocabulary.len()], vocabulary.as_bytes()).unwrap()),
    ];
    let facts = ["name", "licence", "attribution", "recipe"].map(|it| (it.to_owned(), it.to_owned()));
    StaticEmbedder::from_bytes(safetensors::serialize(tensors, Some(facts.into())).unwrap()).unwrap()
}

fn embed(embedder: &StaticEmbedder, text: &str) -> Vec<f32> {
    let mut vector = Vec::new();
    embedder.embed_into(text, &mut vector).unwrap();
    vector
}

/// The kind of the error, after which the vector is empty.
fn refused(embedder: &StaticEmbedder, text: &str) -> EmbedErrorKind {
    let mut vector = vec![1.0];
    let error = embedder.embed_into(text, &mut vector).unwrap_err();
    assert!(vector.is_empty());
    error.kind()
}

/// The sum of rows by its definition, in f64.
fn by_definition(embedder: &StaticEmbedder, ids: &[u32]) -> Vec<f64> {
    let table = &embedder.table;
    let mut sums = vec![0.0; table.dimensions];
    for &id in ids {
        let row = &table.rows()[id as usize * table.dimensions..][..table.dimensions];
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum += f64::from(table.scales[id as usize]) * f64::from(x);
        }
    }
    let norm = sums.iter().map(|x| x * x).sum::<f64>().sqrt();
    sums.iter().map(|x| x / norm).collect()
}

#[test]
fn a_vector_is_the_sum_of_scaled_rows_at_length_1() {
    let embedder = table(&[
        ("[UNK]", 1.0, [0, 0, 1]),
        ("a", 0.5, [2, 0, 0]),
        ("##b", 2.0, [0, 2, 0]),
        ("b", 0.0, [9, 9, 9]),
    ]);
    assert_eq!(embed(&embedder, "a"), [1.0, 0.0, 0.0]);
    // a = (1, 0, 0), ##b = (0, 4, 0), z is unknown = (0, 0, 1)
    let length = (1.0_f32 + 16.0 + 1.0).sqrt();
    for (x, expected) in embed(&embedder, "ab z b").iter().zip([1.0, 4.0, 1.0]) {
        // 0.5 and 1 are rounded in units of 2 / 32767.
        assert!((x - expected / length).abs() < 1e-4);
    }
    let mut vector = Vec::new();
    let reading = embedder.embed_into("ab z b", &mut vector).unwrap();
    assert_eq!((reading.tokens, reading.unknown, reading.truncated), (4, 1, false));
    assert_eq!(refused(&embedder, "b B"), EmbedErrorKind::ZeroNorm);
}

#[test]
fn the_shipped_table_has_256_dimensions_and_its_id_is_the_hash_of_its_content() {
    assert_eq!(SHIPPED.dimensions(), 256);
    let id = id(&SHIPPED.table);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/table/static.id"), format!("{id}\n")).unwrap();
    } else {
        assert_eq!(*SHIPPED.id(), id, "renew it: BLESS=1 cargo test -p tiny-dancer-embed");
    }
    let copy = StaticEmbedder::from_bytes(crate::table::SHIPPED.to_vec()).unwrap();
    assert_eq!(*copy.id(), id);
}

#[test]
fn anything_that_changes_a_vector_changes_the_id() {
    let tokens = [("[UNK]", 1.0, [0, 1]), ("a", 0.5, [2, 0])];
    let ids = [
        tokens,
        [tokens[0], ("b", 0.5, [2, 0])],
        [tokens[0], ("a", 0.6, [2, 0])],
        [tokens[0], ("a", 0.5, [2, 1])],
        [tokens[1], tokens[0]],
    ]
    .map(|tokens| *table(&tokens).id());
    for (i, id) in ids.iter().enumerate() {
        assert!(!ids[..i].contains(id), "{i}");
    }
}

#[test]
fn texts_without_tokens_are_refused() {
    for text in [
        "",
        " ",
        "\t\r\n \u{a0}\u{3000}\u{2028}",
        "\0\u{1}\u{7f}\u{85}\u{200b}\u{feff}",
        "\u{fffd}",
        "\u{301}",
    ] {
        assert_eq!(refused(&SHIPPED, text), EmbedErrorKind::NoTokens, "{text:?}");
    }
    let long = " ".repeat(10 << 20);
    let error = SHIPPED.embed_into(&long, &mut Vec::new()).unwrap_err();
    assert_eq!(error, EmbedError::NoTokens { bytes: 10 << 20 });
}

#[test]
fn control_characters_change_nothing() {
    let plain = embed(&SHIPPED, "What is the capital of France?");
    assert_eq!(embed(&SHIPPED, "What\0 is the cap\u{8}ital\u{200d} of \u{1b}France?\u{feff}"), plain);
    assert_eq!(embed(&SHIPPED, "What\tis\r\n\nthe capital\u{a0}of France?"), plain);
}

#[test]
fn half_a_surrogate_pair_in_json_is_an_error_or_is_dropped() {
    // Reading into a String refuses it.
    for json in [r#""a \ud83d b""#, r#""a \ude00 b""#] {
        assert!(serde_json::from_str::<String>(json).is_err(), "{json}");
    }
    let pair: String = serde_json::from_str(r#""a \ud83d\ude00 b""#).unwrap();
    assert_eq!(pair, "a 😀 b");
    // The same as UTF-8, which is invalid, becomes U+FFFD by a lossy conversion, which is dropped.
    let lossy = String::from_utf8_lossy(b"a \xed\xa0\xbd b");
    assert_eq!(embed(&SHIPPED, &lossy), embed(&SHIPPED, "a b"));
}

#[test]
fn one_token_repeated_has_the_vector_of_the_token() {
    let once = embed(&SHIPPED, "python");
    for times in [2, 1000, 3 * MAX_BYTES] {
        let mut vector = Vec::new();
        let reading = SHIPPED.embed_into(&"python ".repeat(times), &mut vector).unwrap();
        assert_eq!(reading.truncated, times * 7 > MAX_BYTES);
        assert!(reading.tokens == times || reading.truncated);
        let largest = once.iter().zip(&vector).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-4, "{times}: {largest}");
    }
}

#[test]
fn ten_megabytes_are_read_at_both_ends() {
    let middle = "the middle is not read ".repeat((10 << 20) / 23);
    let half = "beginning ".repeat(MAX_BYTES / 20 + 1);
    let text = format!("{half}{middle}{half}");
    let mut vector = Vec::new();
    let reading = SHIPPED.embed_into(&text, &mut vector).unwrap();
    assert!(reading.truncated && reading.tokens >= MAX_BYTES / 10 - 2, "{reading:?}");
    let similarity: f32 = vector.iter().zip(embed(&SHIPPED, "beginning")).map(|(a, b)| a * b).sum();
    assert!(similarity > 0.9999, "{similarity}");
    // One word of ten megabytes is unknown, and so are both of its ends.
    let error = SHIPPED.embed_into(&"x".repeat(10 << 20), &mut vector);
    assert_eq!(error, Err(EmbedError::ZeroNorm { tokens: 2 }));
}

#[test]
fn an_unknown_word_is_left_out_of_the_vector() {
    assert_eq!(embed(&SHIPPED, "hello 😀 world"), embed(&SHIPPED, "hello world"));
    let error = SHIPPED.embed_into("😀 😀", &mut Vec::new());
    assert_eq!(error, Err(EmbedError::ZeroNorm { tokens: 2 }));
}

#[test]
fn tokens_have_their_text() {
    let mut ids = vec![7];
    let reading = SHIPPED.tokenize("Unaffable, naïve 😀", &mut ids);
    let tokens: Vec<_> = ids.iter().map(|id| SHIPPED.token(*id).unwrap()).collect();
    assert_eq!(tokens, ["una", "##ffa", "##ble", ",", "naive", "[UNK]"]);
    assert_eq!((reading.tokens, reading.unknown), (6, 1));
    assert_eq!((SHIPPED.token(0), SHIPPED.token(30_522)), (Some("[PAD]"), None));
}

#[test]
fn every_kernel_gives_the_same_bits_at_any_dimension() {
    fn check<const D: usize>() {
        let row = |seed: usize| std::array::from_fn(|d| (seed * 37 + d * 101) as i8);
        let tokens = [("[UNK]", 0.1), ("a", 0.7), ("b", 1.3), ("##c", 0.05), ("d", 1e-9), ("e", 1e9)];
        let mut rows: Vec<(&str, f32, [i8; D])> = Vec::new();
        for (seed, (token, scale)) in tokens.into_iter().enumerate() {
            rows.push((token, scale, row(seed)));
        }
        let text = "a b ac d z bc ".repeat(20);
        for text in [&*text, "d d d", "e e a"] {
            let vectors = Kernel::available().into_iter().map(|kernel| {
                embed(&table(&rows).with_kernel(kernel), text).into_iter().map(f32::to_bits).collect()
            });
            let vectors: Vec<Vec<u32>> = vectors.collect();
            assert_eq!(vectors[0].len(), D);
            assert!(vectors.iter().all(|vector| *vector == vectors[0]), "{D} {text}");
        }
    }
    check::<1>();
    check::<7>();
    check::<16>();
    check::<65>();
    check::<128>();
    check::<256>();
    check::<300>();
    check::<384>();
}

proptest! {
    #[test]
    fn vectors_are_those_of_the_definition_on_every_kernel(text in "\\PC{0,200} [a-z]") {
        let mut ids = Vec::new();
        SHIPPED.tokenize(&text, &mut ids);
        let expected = by_definition(&SHIPPED, &ids);
        let vector = embed(&SHIPPED, &text);
        for (x, expected) in vector.iter().zip(&expected) {
            // A weight is rounded to 2^-15 of the largest one.
            prop_assert!((f64::from(*x) - expected).abs() < 5e-5);
        }
        for kernel in Kernel::available() {
            let mut other = Vec::new();
            kernel.dispatch(Embed {
                table: &SHIPPED.table,
                parts: [&text, ""],
                scratch: &mut Scratch { ids: Vec::new(), pairs: Vec::new() },
                out: &mut other,
            });
            prop_assert_eq!(&other, &vector);
        }
    }
}

#[test]
fn similar_texts_are_nearer_than_others() {
    let cosine = |a: &str, b: &str| -> f32 {
        embed(&SHIPPED, a).iter().zip(embed(&SHIPPED, b)).map(|(a, b)| a * b).sum()
    };
    let question = "How do I sort a list in Python?";
    assert!(cosine(question, "Sorting lists in Python") > 0.2 + cosine(question, "A recipe for apple pie"));
}
