use super::*;
use crate::error::EmbedErrorKind;
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::fs;
use std::sync::LazyLock;

/// A network that is quick to compute.
const SMALL: Shape =
    Shape { tokens: 8, positions: 256, width: 12, inner: 20, heads: 3, layers: 2, epsilon: 1e-12 };

const VOCABULARY: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nc\n##c";

/// Tensor `k`, element `i` is sin(k + 0.7 i^2).
fn weights(shape: &Shape) -> Vec<u8> {
    let &Shape { tokens, positions, width, inner, layers, .. } = shape;
    let mut shapes = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![tokens, width]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![positions, width]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, width]),
    ];
    let norm = |name: &str| ["weight", "bias"].map(|part| (format!("{name}.{part}"), vec![width]));
    let linear = |name: &str, rows, columns| {
        [(format!("{name}.weight"), vec![rows, columns]), (format!("{name}.bias"), vec![rows])]
    };
    shapes.extend(norm("embeddings.LayerNorm"));
    for layer in 0..layers {
        let name = |name| format!("encoder.layer.{layer}.{name}");
        for part in
            ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
        {
            shapes.extend(linear(&name(part), width, width));
        }
        shapes.extend(norm(&name("attention.output.LayerNorm")));
        shapes.extend(linear(&name("intermediate.dense"), inner, width));
        shapes.extend(linear(&name("output.dense"), width, inner));
        shapes.extend(norm(&name("output.LayerNorm")));
    }
    let tensors = shapes.into_iter().enumerate().map(|(k, (name, shape))| {
        let elements =
            (0..shape.iter().product::<usize>()).map(|i| (k as f64 + 0.7 * (i * i) as f64).sin() as f32);
        (name, shape, elements.flat_map(f32::to_le_bytes).collect::<Vec<_>>())
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

static NETWORK: LazyLock<MiniLm> =
    LazyLock::new(|| MiniLm::new(&SMALL, VOCABULARY, weights(&SMALL)).unwrap());

fn embed(text: &str) -> Vec<f32> {
    let mut vector = vec![9.0];
    NETWORK.embed_into(text, &mut vector).unwrap();
    vector
}

fn deviation(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_small_network_has_the_vectors_of_the_network_in_numpy() {
    // By `MiniLm.embed` of training/minilm.py with the same weights, ids 2 4 3 and 2 4 5 6 7 1 4 3.
    let expected = [
        [
            -0.477_349_9,
            -0.091_883_3,
            0.230_534_6,
            -0.218_081_5,
            0.167_958_2,
            0.006_846_8,
            -0.247_424_4,
            0.218_023_8,
            -0.693_680_5,
            -0.054_116_2,
            0.017_715_2,
            0.203_822_7,
        ],
        [
            -0.474_912_1,
            -0.101_321_5,
            0.229_142_9,
            -0.215_829_2,
            0.170_764,
            0.002_390_7,
            -0.249_791_5,
            0.219_279_9,
            -0.693_750_3,
            -0.050_632,
            0.017_217_1,
            0.203_245_3,
        ],
    ];
    for (text, expected) in ["A", "a b cc ? a"].iter().zip(expected) {
        assert!(deviation(&embed(text), &expected) < 2e-6, "{text}: {:?}", embed(text));
    }
}

#[test]
fn the_first_254_tokens_are_read() {
    let mut vector = Vec::new();
    let mut reading = |text: &str| NETWORK.embed_into(text, &mut vector).unwrap();
    let whole = reading(&"a ?".repeat(127));
    assert_eq!((whole.tokens, whole.unknown, whole.truncated), (254, 127, false));
    let long = reading(&"a b ".repeat(128));
    assert_eq!((long.tokens, long.truncated), (254, true));
    assert_eq!(embed(&"a b ".repeat(127)), embed(&"a b ".repeat(128)));
    // A character that lies across the limit is left out.
    let spaces = format!("a{}\u{1d7da}", " ".repeat(MAX_BYTES - 3));
    let read = reading(&spaces);
    assert_eq!((read.tokens, read.truncated), (1, true));
    assert!(!reading(&spaces[..MAX_BYTES - 2]).truncated);
}

#[test]
fn text_without_tokens_is_an_error_and_a_batch_names_it() {
    let mut vector = vec![9.0];
    for text in ["", " \t\n", "\u{0}\u{7f}"] {
        let error = NETWORK.embed_into(text, &mut vector).unwrap_err();
        assert_eq!(error, EmbedError::NoTokens { bytes: text.len() });
        assert!(vector.is_empty());
    }
    vector.push(9.0);
    let error = NETWORK.embed_batch(&["a", "b", " "], &mut vector).unwrap_err();
    assert_eq!((error.text, error.source.kind()), (Some(2), EmbedErrorKind::NoTokens));
    assert!(vector.is_empty() && NETWORK.embed_batch(&[], &mut vector).unwrap().is_empty());
}

proptest! {
    #[test]
    fn a_text_has_the_same_vector_in_each_batch(
        texts in proptest::collection::vec(proptest::collection::vec("[abc?]", 1..40), 1..12),
    ) {
        let texts: Vec<_> = texts.iter().map(|words| words.join(" ")).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let (mut vectors, mut vector) = (Vec::new(), Vec::new());
        let readings = NETWORK.embed_batch(&texts, &mut vectors).unwrap();
        for (text, row) in texts.iter().zip(vectors.chunks(SMALL.width)) {
            prop_assert_eq!(NETWORK.embed_into(text, &mut vector).unwrap(), readings[texts.iter().position(|other| other == text).unwrap()]);
            prop_assert!(deviation(row, &vector) < 1e-5);
        }
    }
}

#[test]
fn weights_that_make_no_number_are_an_error_of_the_text() {
    let mut bytes = weights(&SMALL);
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let network = MiniLm::new(&SMALL, VOCABULARY, bytes).unwrap();
    let mut vector = Vec::new();
    assert!(network.embed_into("a", &mut vector).is_err() && vector.is_empty());
    assert_eq!(network.embed_batch(&["b", "a"], &mut vector).unwrap_err().text, Some(0));
    assert!(vector.is_empty());
}

#[test]
fn weights_vocabulary_and_what_is_read_determine_the_id() {
    let id = |vocabulary: &str, weights| *MiniLm::new(&SMALL, vocabulary, weights).unwrap().id();
    let id_of_small = id(VOCABULARY, weights(&SMALL));
    assert_eq!(id_of_small, *NETWORK.id());
    assert_ne!(id_of_small, id(&VOCABULARY.replace("##c", "##b"), weights(&SMALL)));
    let mut other = weights(&SMALL);
    *other.last_mut().unwrap() ^= 1;
    assert_ne!(id_of_small, id(VOCABULARY, other));
}

fn config() -> Value {
    json!({
        "model_type": "bert", "hidden_act": "gelu", "vocab_size": 8, "max_position_embeddings": 256,
        "type_vocab_size": 2, "hidden_size": 12, "intermediate_size": 20, "num_attention_heads": 3,
        "num_hidden_layers": 2, "layer_norm_eps": 1e-12, "transformers_version": "4.8.2",
    })
}

fn tokenizer_file() -> Value {
    let vocabulary: serde_json::Map<_, _> =
        VOCABULARY.split('\n').enumerate().map(|(id, token)| (token.to_owned(), json!(id))).collect();
    json!({
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "lowercase": true,
            "strip_accents": null,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    })
}

/// A folder with a small model.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("config.json", config().to_string().as_bytes());
    write("tokenizer.json", tokenizer_file().to_string().as_bytes());
    write("vocab.txt", format!("{VOCABULARY}\n").as_bytes());
    write("model.safetensors", &weights(&SMALL));
    folder
}

fn load(folder: &Path) -> Result<MiniLm, MiniLmError> {
    MiniLm::load_shape(folder, &SMALL)
}

/// The error after a file of a good folder has this content, or is missing.
fn broken(file: &str, content: Option<&str>) -> MiniLmError {
    let folder = folder();
    let path = folder.path().join(file);
    fs::remove_file(&path).unwrap();
    if let Some(content) = content {
        fs::write(&path, content).unwrap();
    }
    load(folder.path()).unwrap_err()
}

#[test]
fn a_folder_is_loaded_with_the_vocabulary_of_either_file() {
    let folder = folder();
    assert_eq!(load(folder.path()).unwrap().id(), NETWORK.id());
    fs::write(folder.path().join("vocab.txt"), VOCABULARY.replace('\n', "\r\n")).unwrap();
    assert_eq!(load(folder.path()).unwrap().id(), NETWORK.id());
    fs::remove_file(folder.path().join("vocab.txt")).unwrap();
    assert_eq!(load(folder.path()).unwrap().id(), NETWORK.id());
}

#[test]
fn each_field_of_the_configuration_is_checked() {
    for (field, value) in config().as_object().unwrap() {
        if field == "transformers_version" {
            continue;
        }
        for wrong in [json!("7"), json!(7), Value::Null] {
            let mut config = config();
            config[field] = wrong.clone();
            let error = broken("config.json", Some(&config.to_string()));
            let text = format!("config.json: /{field} is {wrong}, expected {value}");
            assert_eq!(error.to_string(), text);
        }
    }
}

#[test]
fn each_field_of_the_tokenizer_is_checked() {
    for field in [
        "/normalizer/type",
        "/normalizer/clean_text",
        "/normalizer/handle_chinese_chars",
        "/normalizer/lowercase",
        "/normalizer/strip_accents",
        "/pre_tokenizer/type",
        "/model/type",
        "/model/unk_token",
        "/model/continuing_subword_prefix",
        "/model/max_input_chars_per_word",
    ] {
        let folder = folder();
        fs::remove_file(folder.path().join("vocab.txt")).unwrap();
        let mut file = tokenizer_file();
        *file.pointer_mut(field).unwrap() = json!(false);
        fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
        let error = load(folder.path()).unwrap_err();
        assert!(matches!(error, MiniLmError::Field { field: actual, .. } if actual == field), "{error}");
    }
}

#[test]
fn wrong_vocabularies_are_errors() {
    let vocabulary = |content: &str| broken("vocab.txt", Some(content));
    let error = vocabulary("[PAD]\n[UNK]");
    assert!(matches!(error, MiniLmError::Vocabulary { expected: 8, actual: 2 }), "{error}");
    for token in ["[UNK]", "[CLS]", "[SEP]"] {
        let error = vocabulary(&VOCABULARY.replace(token, "other"));
        assert!(matches!(error, MiniLmError::MissingToken { token: actual } if actual == token), "{error}");
    }
    let error = vocabulary(&VOCABULARY.replace("##c", "a"));
    assert!(matches!(error, MiniLmError::RepeatedToken { first: 4, second: 7 }), "{error}");

    // Ids with a gap, or of another kind.
    for id in [json!(8), json!(-1), json!("7")] {
        let folder = folder();
        fs::remove_file(folder.path().join("vocab.txt")).unwrap();
        let mut file = tokenizer_file();
        file["model"]["vocab"]["##c"] = id;
        fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
        let error = load(folder.path()).unwrap_err();
        assert!(matches!(error, MiniLmError::Vocabulary { .. } | MiniLmError::Json { .. }), "{error}");
    }
}

#[test]
fn missing_and_broken_files_are_errors_that_name_them() {
    for file in ["config.json", "model.safetensors"] {
        let error = broken(file, None);
        assert!(matches!(error, MiniLmError::Read { .. }) && error.to_string().contains(file), "{error}");
    }
    let error = broken("config.json", Some("{"));
    assert!(matches!(error, MiniLmError::Json { file: "config.json", .. }), "{error}");
    for content in ["", "not safetensors"] {
        let error = broken("model.safetensors", Some(content));
        assert!(matches!(error, MiniLmError::Weights { .. }), "{error}");
    }
    let folder = folder();
    let weights_of = |shape: Shape| {
        fs::write(folder.path().join("model.safetensors"), weights(&shape)).unwrap();
        load(folder.path()).unwrap_err().to_string()
    };
    let error = weights_of(Shape { layers: 1, ..SMALL });
    assert!(error.contains("encoder.layer.1."), "{error}");
    let error = weights_of(Shape { tokens: 9, ..SMALL });
    assert!(error.contains("word_embeddings") && error.contains("[9, 12]"), "{error}");
    fs::remove_file(folder.path().join("vocab.txt")).unwrap();
    fs::create_dir(folder.path().join("vocab.txt")).unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(matches!(error, MiniLmError::NotAFile { .. }), "{error}");
}

#[test]
fn the_cache_has_the_revision_main_or_else_a_whole_one() {
    let cache = tempfile::tempdir().unwrap();
    let model = cache.path().join("models--sentence-transformers--all-MiniLM-L6-v2");
    let error = files::snapshot(cache.path()).unwrap_err();
    assert!(matches!(&error, MiniLmError::NotCached { folder } if *folder == model), "{error}");
    let revision = |name: &str, files: &[&str]| {
        let folder = model.join("snapshots").join(name);
        fs::create_dir_all(&folder).unwrap();
        for file in files {
            fs::write(folder.join(file), "").unwrap();
        }
        folder
    };
    let whole = ["config.json", "model.safetensors", "vocab.txt"];
    revision("a", &whole[..2]);
    assert!(files::snapshot(cache.path()).is_err());
    let b = revision("b", &whole);
    assert_eq!(files::snapshot(cache.path()).unwrap(), b);
    let c = revision("c", &["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(files::snapshot(cache.path()).unwrap(), b);
    fs::create_dir(model.join("refs")).unwrap();
    fs::write(model.join("refs/main"), "c\n").unwrap();
    assert_eq!(files::snapshot(cache.path()).unwrap(), c);
    fs::remove_file(c.join("tokenizer.json")).unwrap();
    assert_eq!(files::snapshot(cache.path()).unwrap(), b);
}

/// The published model, from the folder that `TINY_DANCER_MINILM` names.
fn published() -> Option<MiniLm> {
    let Some(folder) = env::var_os("TINY_DANCER_MINILM") else {
        eprintln!("SKIPPED: set TINY_DANCER_MINILM to a folder with all-MiniLM-L6-v2");
        return None;
    };
    Some(MiniLm::load(folder).unwrap())
}

/// The rows of a file with the tensor `embeddings`, f16.
fn rows(path: &Path) -> Vec<Vec<f32>> {
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor("embeddings").unwrap();
    let float = |bytes: &[u8; 2]| half::f16::from_le_bytes(*bytes).to_f32();
    let floats: Vec<_> = tensor.data().as_chunks().0.iter().map(float).collect();
    floats.chunks(tensor.shape()[1]).map(<[_]>::to_vec).collect()
}

/// The prompts of JSON lines.
fn prompts(lines: &str) -> Vec<String> {
    let line = |line| serde_json::from_str::<Value>(line).unwrap()["prompt"].as_str().unwrap().to_owned();
    lines.lines().map(line).collect()
}

/// Fails unless the cosine of each text's vector with its row is 0.9999 or more.
fn check_parity(model: &MiniLm, texts: &[String], rows: &[Vec<f32>]) {
    assert_eq!(texts.len(), rows.len());
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let mut vectors = Vec::new();
    let readings = model.embed_batch(&texts, &mut vectors).unwrap();
    let mut least = 1.0;
    for ((text, row), vector) in texts.iter().zip(rows).zip(vectors.chunks(model.dimensions())) {
        let dot: f32 = row.iter().zip(vector).map(|(a, b)| a * b).sum();
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!(dot / norm >= 0.9999, "{} for {text:?}", dot / norm);
        least = f32::min(least, dot / norm);
    }
    let truncated = readings.iter().filter(|reading| reading.truncated).count();
    println!("{} texts, {truncated} of them truncated: smallest cosine {least:.7}", texts.len());
}

#[test]
fn the_published_model_has_the_id_and_the_vectors_of_the_examples() {
    let Some(model) = published() else { return };
    assert_eq!(model.id().to_string(), MiniLm::PUBLISHED);
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data");
    let texts = prompts(&fs::read_to_string(data.join("prompts.jsonl")).unwrap());
    check_parity(&model, &texts, &rows(&data.join("prompts.safetensors")));
}

#[test]
fn the_published_model_has_the_vectors_of_real_rows() {
    let (Some(model), Some(data)) = (published(), env::var_os("TINY_DANCER_DATA").map(PathBuf::from)) else {
        eprintln!("SKIPPED: set TINY_DANCER_DATA to a folder with routellm.jsonl.zst and its embeddings");
        return;
    };
    let text = |name: &str| {
        let file = fs::File::open(data.join(name)).unwrap();
        String::from_utf8(zstd::decode_all(file).unwrap()).unwrap()
    };
    for (name, step) in [("routellm", 100), ("mmlu-pro", 100), ("dcrouter", 50)] {
        let texts = prompts(&text(&format!("{name}.jsonl.zst")));
        let rows = rows(&data.join(format!("{name}-minilm.safetensors")));
        assert_eq!(texts.len(), rows.len());
        let places: Vec<_> = (0..texts.len()).step_by(step).collect();
        let texts: Vec<_> = places.iter().map(|i| texts[*i].clone()).collect();
        let rows: Vec<_> = places.iter().map(|i| rows[*i].clone()).collect();
        check_parity(&model, &texts, &rows);
    }
}

#[test]
fn the_published_model_deviates_little_in_a_batch() {
    let Some(model) = published() else { return };
    let texts =
        ["Sort a list.", "Sort a dict.", "Sort a list of 10 names in Python, please.", "Sort a list."];
    let (mut vectors, mut vector) = (Vec::new(), Vec::new());
    model.embed_batch(&texts, &mut vectors).unwrap();
    for (text, row) in texts.iter().zip(vectors.chunks(model.dimensions())) {
        model.embed_into(text, &mut vector).unwrap();
        assert!(deviation(row, &vector) < 1e-5);
    }
}
