use super::*;
use std::collections::HashMap;

/// The parts of a file, of which tests change one.
#[derive(Clone)]
struct Parts {
    rows: (Dtype, Vec<usize>, Vec<u8>),
    scales: (Dtype, Vec<usize>, Vec<u8>),
    vocabulary: (Dtype, Vec<usize>, Vec<u8>),
    metadata: HashMap<String, String>,
    without: &'static str,
}

impl Parts {
    fn new() -> Self {
        let metadata =
            ["name", "licence", "attribution", "recipe"].map(|it| (it.to_owned(), format!("the {it}")));
        Self {
            rows: (Dtype::I8, vec![3, 2], vec![1, 2, 3, 4, 5, 255]),
            scales: (Dtype::F32, vec![3], [1.0_f32, 0.0, 0.5].iter().flat_map(|x| x.to_le_bytes()).collect()),
            vocabulary: (Dtype::U8, vec![10], b"[UNK]\na\n##".to_vec()),
            metadata: metadata.into(),
            without: "",
        }
        .vocabulary(b"[UNK]\na\n##a")
    }

    fn vocabulary(self, vocabulary: &[u8]) -> Self {
        Self { vocabulary: (Dtype::U8, vec![vocabulary.len()], vocabulary.to_vec()), ..self }
    }

    fn scales(self, scales: [f32; 3]) -> Self {
        Self { scales: (Dtype::F32, vec![3], scales.iter().flat_map(|x| x.to_le_bytes()).collect()), ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let tensors = [("rows", &self.rows), ("scales", &self.scales), ("vocabulary", &self.vocabulary)];
        let tensors = tensors.into_iter().filter(|it| it.0 != self.without);
        let views = tensors.map(|(name, (dtype, shape, data))| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
    }

    fn read(&self) -> Result<Table, TableError> {
        Table::new(self.bytes().into())
    }

    /// The message of the error.
    #[track_caller]
    fn refused(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

#[test]
fn a_table_has_its_parts() {
    let table = Parts::new().read().unwrap();
    assert_eq!((table.dimensions, table.rows()), (2, &[1, 2, 3, 4, 5, -1][..]));
    assert_eq!(table.scales, [1.0, 0.0, 0.5]);
    assert_eq!([0, 1, 2, 3].map(|id| table.token(id)), [Some("[UNK]"), Some("a"), Some("##a"), None]);
    assert_eq!((&*table.facts.licence, &*table.facts.recipe), ("the licence", "the recipe"));
}

#[test]
fn what_is_not_a_whole_file_is_refused() {
    let bytes = Parts::new().bytes();
    for length in 0..bytes.len() {
        let error = Table::new(bytes[..length].to_vec().into()).unwrap_err();
        assert!(matches!(error, TableError::Corrupt { .. }), "{length}: {error}");
    }
}

#[test]
fn each_missing_part_is_named() {
    for without in ["rows", "scales", "vocabulary"] {
        let error = Parts { without, ..Parts::new() }.refused();
        assert_eq!(error, format!("tensor {without} is missing"));
    }
    for field in ["name", "licence", "attribution", "recipe"] {
        let mut parts = Parts::new();
        parts.metadata.remove(field);
        assert_eq!(parts.refused(), format!("metadata: {field} is missing"));
    }
}

#[test]
fn each_wrong_type_and_shape_is_named() {
    let parts = Parts::new;
    let floats = vec![0; 24];
    for (parts, error) in [
        (
            Parts { rows: (Dtype::F32, vec![3, 2], floats), ..parts() },
            "tensor rows is F32 [3, 2], expected I8 [3, 2]",
        ),
        (
            Parts { rows: (Dtype::I8, vec![2, 3], vec![0; 6]), ..parts() },
            "tensor rows is I8 [2, 3], expected I8 [3, 3]",
        ),
        (
            Parts { rows: (Dtype::I8, vec![6], vec![0; 6]), ..parts() },
            "tensor rows is I8 [6], expected I8 [tokens, dimensions]",
        ),
        (
            Parts { rows: (Dtype::I8, vec![3, 0], vec![]), ..parts() },
            "rows have 0 dimensions, expected 1 to 4096",
        ),
        (
            Parts { rows: (Dtype::I8, vec![3, 4097], vec![0; 3 * 4097]), ..parts() },
            "rows have 4097 dimensions, expected 1 to 4096",
        ),
        (
            Parts { scales: (Dtype::F32, vec![2], vec![0; 8]), ..parts() },
            "tensor scales is F32 [2], expected F32 [3]",
        ),
        (
            Parts { scales: (Dtype::I32, vec![3], vec![0; 12]), ..parts() },
            "tensor scales is I32 [3], expected F32 [3]",
        ),
        (
            Parts { vocabulary: (Dtype::U8, vec![3, 2], b"[UNK]\n".to_vec()), ..parts() },
            "tensor vocabulary is U8 [3, 2], expected U8 [bytes]",
        ),
        (
            Parts { vocabulary: (Dtype::I8, vec![5], b"[UNK]".to_vec()), ..parts() },
            "tensor vocabulary is I8 [5], expected U8 [5]",
        ),
    ] {
        assert_eq!(parts.refused(), error);
    }
}

#[test]
fn scales_that_are_not_finite_negative_or_extreme_are_refused() {
    for value in [f32::NAN, f32::INFINITY, -1.0, -0.1, 1e-10, 2e9] {
        let error = Parts::new().scales([1.0, 1.0, value]).read().unwrap_err();
        assert!(
            matches!(error, TableError::Scale { token: 2, value: v } if v.to_bits() == value.to_bits()),
            "{error}"
        );
    }
    assert!(Parts::new().scales([0.0, 1e-9, 1e9]).read().is_ok());
}

#[test]
fn each_flaw_of_a_vocabulary_is_named() {
    let large = "a".repeat(MAX_VOCABULARY + 1);
    let long = format!("[UNK]\n{}\nb", "a".repeat(65));
    for (vocabulary, error) in [
        (&b"b\na\n##a"[..], "the vocabulary has no token [UNK]"),
        (b"[UNK]\na\na", "tokens 1 and 2 are both \"a\""),
        (b"[UNK]\n##a\n##a", "tokens 1 and 2 are both \"##a\""),
        (b"[UNK]\n\na", "token 1 has 0 bytes, expected 1 to 64"),
        (b"[UNK]\na\n", "token 2 has 0 bytes, expected 1 to 64"),
        (b"", "token 0 has 0 bytes, expected 1 to 64"),
        (long.as_bytes(), "token 1 has 65 bytes, expected 1 to 64"),
        (b"[UNK]\na\xff\nb", "the vocabulary is not UTF-8 from byte 7 on"),
        (b"[UNK]\na\nb\nc", "tensor rows is I8 [3, 2], expected I8 [4, 2]"),
        (large.as_bytes(), "the vocabulary has 4194305 bytes, expected at most 4194304"),
    ] {
        assert_eq!(Parts::new().vocabulary(vocabulary).refused(), error);
    }
}

#[test]
fn only_a_regular_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Table::read(folder.path()), Err(TableError::NotAFile { .. })));
    let file = folder.path().join("table");
    assert!(matches!(Table::read(&file), Err(TableError::Read { .. })));
    std::fs::write(&file, b"abc").unwrap();
    assert_eq!(Table::read(&file).unwrap(), b"abc");
    File::create(&file).unwrap().set_len(MAX_FILE + 1).unwrap();
    assert!(matches!(Table::read(&file), Err(TableError::TooLarge { .. })));
}
