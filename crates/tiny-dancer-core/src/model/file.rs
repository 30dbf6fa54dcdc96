//! The model file: encoding, and decoding with all its checks.

use super::{Ties, TrainingFacts};
use crate::conformal::{CalibrationTable, Lookup};
use crate::fastgrnn::{FastGrnnWeights, MAX_HIDDEN_SIZE};
use crate::features::Feature;
use crate::promise::RiskStep;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

/// Format 2 has `success_rate` and `win_rate`, and a digest.
const FORMAT: u64 = 2;
/// The most steps of a risk path, so that a promise is resolved in bounded time.
const MAX_STEPS: usize = 1024;
/// The most bins of a table. Its lookup takes a kilobyte for each bin.
const MAX_BINS: usize = 4096;
/// The file's one metadata key.
const KEY: &str = "tiny_dancer";

/// Why a model was not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A number of the calibration or of the risk path is out of range.
    #[error("tensor {tensor}: element {index} is {value}, expected {expected}")]
    Calibration {
        /// Which tensor.
        tensor: &'static str,
        /// Which of its elements.
        index: usize,
        /// Its value.
        value: f64,
        /// The range that it must have.
        expected: &'static str,
    },
    /// Corrupt or truncated: not a whole safetensors file.
    #[error("not a whole safetensors file: {source}")]
    Corrupt {
        /// The error of safetensors.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The content was changed after it was written.
    #[error("the digest of the content is {actual}, expected {expected}: the file was changed")]
    Digest {
        /// The digest that the file states.
        expected: String,
        /// The digest of its content.
        actual: String,
    },
    /// Made for the vectors of another embedder.
    #[error(
        "the vectors are of embedder {expected}, {}",
        if actual.is_empty() { "and the model does not say for which embedder it was made".to_owned() }
        else { format!("the model was made for {}", actual.join(" or ")) }
    )]
    Embedder {
        /// The id of the embedder in use.
        expected: String,
        /// The embedder that the model was made for, or those of all models in this package; empty if none is known.
        actual: Vec<String>,
    },
    /// A safetensors file, but not of a tiny-dancer model.
    #[error("not a tiny-dancer model: its metadata has no key tiny_dancer")]
    Foreign,
    /// Made for another set of features.
    #[error("features are {actual:?}, expected {expected:?}")]
    FeatureSchema {
        /// This version's features, in order.
        expected: [&'static str; Feature::COUNT],
        /// The file's.
        actual: Vec<String>,
    },
    /// A format that this version does not read.
    #[error("format version is {actual}, expected {expected}")]
    FormatVersion {
        /// The version that is read.
        expected: u64,
        /// The file's.
        actual: u64,
    },
    /// A hidden size out of range.
    #[error("hidden size is {actual}, expected 1 to {max}")]
    HiddenSize {
        /// The largest that is read.
        max: usize,
        /// The file's.
        actual: u64,
    },
    /// The metadata lacks a field, or it has another type.
    #[error("metadata: {field} is missing or has another type")]
    MetadataField {
        /// Its name.
        field: &'static str,
    },
    /// The metadata is not JSON.
    #[error("metadata is not JSON: {source}")]
    MetadataJson {
        /// The error of the JSON parser.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A tensor is missing.
    #[error("tensor {tensor} is missing")]
    MissingTensor {
        /// Its name.
        tensor: &'static str,
    },
    /// A weight is NaN or infinite.
    #[error("tensor {tensor}: element {index} is {value}")]
    NonFinite {
        /// Which tensor.
        tensor: &'static str,
        /// Which of its elements.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// The path leads to a directory, a FIFO, a device or a socket.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// Which path.
        path: PathBuf,
    },
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The model cannot promise the configured risk.
    #[error(
        "the model cannot promise a failure rate of {alpha} with confidence 1 - {delta}; {}",
        smallest.map_or("it has no certified thresholds".to_owned(), |alpha| format!("the smallest is {alpha:.4}"))
    )]
    Risk {
        /// The configured failure rate.
        alpha: f64,
        /// The configured probability that the promise does not hold.
        delta: f64,
        /// The smallest alpha that it can promise with this delta; `None` where no thresholds were certified.
        smallest: Option<f64>,
    },
    /// A weight is so large that the cell could leave f32's range.
    #[error("tensor {tensor}: element {index} is {value}, expected -{max} to {max}")]
    WeightRange {
        /// Which tensor.
        tensor: &'static str,
        /// Which of its elements.
        index: usize,
        /// Its value.
        value: f32,
        /// The largest magnitude.
        max: f32,
    },
    /// A tensor has another shape or element type.
    #[error("tensor {tensor} is {actual_dtype} of shape {actual:?}, expected {dtype} of shape {expected:?}")]
    Shape {
        /// Which tensor.
        tensor: &'static str,
        /// The expected element type, such as `F32`.
        dtype: String,
        /// The expected shape.
        expected: Vec<usize>,
        /// Its element type in the file.
        actual_dtype: String,
        /// Its shape in the file.
        actual: Vec<usize>,
    },
    /// The file is larger than any model.
    #[error("{} is larger than {max} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The largest size that is read, in bytes.
        max: u64,
    },
    /// A tensor is too long.
    #[error("tensor {tensor} has {actual} elements, expected {max} at most")]
    TensorLength {
        /// Which tensor.
        tensor: &'static str,
        /// The largest length.
        max: usize,
        /// The file's.
        actual: usize,
    },
    /// The file has tensors that do not belong to a model.
    #[error("{actual} tensors, expected {expected}")]
    TensorCount {
        /// How many a model has.
        expected: usize,
        /// How many the file has.
        actual: usize,
    },
}

/// The first twelve hexadecimal digits of the content's SHA-256.
pub(crate) fn version(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes)[..6])
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// The names of a calibration table's four tensors.
struct TableNames {
    similarity_edges: &'static str,
    count_edges: &'static str,
    offsets: &'static str,
    scores: &'static str,
}

/// The names of the risk path's four tensors. A file has all of them, or none.
struct RiskNames {
    confidence_threshold: &'static str,
    max_uncertainty: &'static str,
    n: &'static str,
    failures: &'static str,
}

const RISK: RiskNames = RiskNames {
    confidence_threshold: "risk.confidence_threshold",
    max_uncertainty: "risk.max_uncertainty",
    n: "risk.n",
    failures: "risk.failures",
};

/// In files the per-candidate pass is `alone`, and the joint pass is `together`.
const PER_CANDIDATE: TableNames = TableNames {
    similarity_edges: "alone.similarity_edges",
    count_edges: "alone.count_edges",
    offsets: "alone.offsets",
    scores: "alone.scores",
};
const JOINT: TableNames = TableNames {
    similarity_edges: "together.similarity_edges",
    count_edges: "together.count_edges",
    offsets: "together.offsets",
    scores: "together.scores",
};

/// The content of a file.
pub(super) struct Parts {
    pub(super) weights: FastGrnnWeights,
    pub(super) ties: Ties,
    pub(super) per_candidate: CalibrationTable,
    pub(super) joint: CalibrationTable,
    pub(super) risk_path: Vec<RiskStep>,
    pub(super) training: TrainingFacts,
}

impl Parts {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let (tensors, mut metadata) = (self.tensors(), self.metadata());
        metadata.insert("digest".to_owned(), digest(&tensors, &metadata).into());
        let views = tensors.iter().map(|tensor| (tensor.name, tensor.view()));
        safetensors::serialize(
            views,
            Some(HashMap::from([(KEY.to_owned(), Value::from(metadata).to_string())])),
        )
        .expect("every view was made from data of its own shape")
    }

    /// The metadata without the digest. `serde_json::Map` keeps its keys sorted.
    fn metadata(&self) -> Map<String, Value> {
        let fields = json!({
            "features": Feature::ALL.map(Feature::name),
            "format": FORMAT,
            "hidden_size": self.weights.bias_gate.len(),
            "ties": self.ties.name(),
            "training": self.training,
        });
        fields.as_object().cloned().unwrap_or_default()
    }

    fn tensors(&self) -> Vec<Tensor> {
        let Self { weights, per_candidate, joint, risk_path, .. } = self;
        let h = weights.bias_gate.len();
        let mut tensors = vec![
            Tensor::f32("w", &[h, Feature::COUNT], &weights.w),
            Tensor::f32("u", &[h, h], &weights.u),
            Tensor::f32("bias_gate", &[h], &weights.bias_gate),
            Tensor::f32("bias_update", &[h], &weights.bias_update),
            Tensor::f32("zeta", &[1], &[weights.zeta]),
            Tensor::f32("nu", &[1], &[weights.nu]),
            Tensor::f32("head_weight", &[h], &weights.head_weight),
            Tensor::f32("head_bias", &[1], &[weights.head_bias]),
        ];
        for (names, table) in [(PER_CANDIDATE, per_candidate), (JOINT, joint)] {
            tensors.extend([
                Tensor::f32(names.similarity_edges, &[table.similarity_edges.len()], &table.similarity_edges),
                Tensor::u32(names.count_edges, &table.count_edges),
                Tensor::u32(names.offsets, &table.offsets),
                Tensor::f32(names.scores, &[table.scores.len()], &table.scores),
            ]);
        }
        if !risk_path.is_empty() {
            let floats = |part: fn(&RiskStep) -> f32| risk_path.iter().map(part).collect::<Vec<_>>();
            let counts = |part: fn(&RiskStep) -> u32| risk_path.iter().map(part).collect::<Vec<_>>();
            let shape = [risk_path.len()];
            tensors.extend([
                Tensor::f32(RISK.confidence_threshold, &shape, &floats(|step| step.confidence_threshold)),
                Tensor::f32(RISK.max_uncertainty, &shape, &floats(|step| step.max_uncertainty)),
                Tensor::u32(RISK.n, &counts(|step| step.n)),
                Tensor::u32(RISK.failures, &counts(|step| step.failures)),
            ]);
        }
        tensors
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        let file =
            SafeTensors::deserialize(bytes).map_err(|error| LoadError::Corrupt { source: error.into() })?;
        let (_, header) =
            SafeTensors::read_metadata(bytes).map_err(|error| LoadError::Corrupt { source: error.into() })?;
        let text = header.metadata().as_ref().and_then(|map| map.get(KEY)).ok_or(LoadError::Foreign)?;
        let metadata: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| LoadError::MetadataJson { source: error.into() })?;
        let field = |field| metadata.get(field).ok_or(LoadError::MetadataField { field });
        let wrong = |field| move || LoadError::MetadataField { field };

        let actual = field("format")?.as_u64().ok_or_else(wrong("format"))?;
        if actual != FORMAT {
            return Err(LoadError::FormatVersion { expected: FORMAT, actual });
        }
        let actual: Vec<String> =
            serde_json::from_value(field("features")?.clone()).map_err(|_| wrong("features")())?;
        let expected = Feature::ALL.map(Feature::name);
        if actual != expected {
            return Err(LoadError::FeatureSchema { expected, actual });
        }
        let actual = field("hidden_size")?.as_u64().ok_or_else(wrong("hidden_size"))?;
        if !(1..=MAX_HIDDEN_SIZE as u64).contains(&actual) {
            return Err(LoadError::HiddenSize { max: MAX_HIDDEN_SIZE, actual });
        }
        let h = actual as usize;
        let ties = field("ties")?.as_str().and_then(|name| name.parse().ok()).ok_or_else(wrong("ties"))?;
        let expected = field("digest")?.as_str().ok_or_else(wrong("digest"))?.to_owned();
        let training = serde_json::from_value(field("training")?.clone()).map_err(|_| wrong("training")())?;

        let mut reader = Reader { file: &file, read: 0 };
        let weights = FastGrnnWeights {
            w: reader.cell_weights("w", vec![h, Feature::COUNT])?,
            u: reader.cell_weights("u", vec![h, h])?,
            bias_gate: reader.cell_weights("bias_gate", vec![h])?,
            bias_update: reader.cell_weights("bias_update", vec![h])?,
            zeta: reader.weights("zeta", vec![1])?[0],
            nu: reader.weights("nu", vec![1])?[0],
            head_weight: reader.weights("head_weight", vec![h])?,
            head_bias: reader.weights("head_bias", vec![1])?[0],
        };
        let per_candidate = reader.table(&PER_CANDIDATE)?;
        let joint = reader.table(&JOINT)?;
        let risk_path = reader.risk_path()?;
        if file.len() != reader.read {
            return Err(LoadError::TensorCount { expected: reader.read, actual: file.len() });
        }
        let parts = Self { weights, ties, per_candidate, joint, risk_path, training };
        let actual = digest(&parts.tensors(), &parts.metadata());
        if actual != expected {
            return Err(LoadError::Digest { expected, actual });
        }
        Ok(parts)
    }
}

/// The SHA-256 of the metadata without its digest, and of each tensor's name, type, shape and bytes.
fn digest(tensors: &[Tensor], metadata: &Map<String, Value>) -> String {
    let mut hash = Sha256::new();
    hash.update(Value::from(metadata.clone()).to_string());
    for Tensor { name, dtype, shape, bytes } in tensors {
        hash.update(format!("\n{name} {dtype:?} {shape:?}\n"));
        hash.update(bytes);
    }
    hexadecimal(&hash.finalize())
}

/// A tensor to be written to a file.
struct Tensor {
    name: &'static str,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    /// Values that do not fill the shape are written with their own length, so that the reader reports the mismatch.
    fn f32(name: &'static str, shape: &[usize], values: &[f32]) -> Self {
        let fits = shape.iter().product::<usize>() == values.len();
        let shape = if fits { shape.to_vec() } else { vec![values.len()] };
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name, dtype: Dtype::F32, shape, bytes }
    }

    fn u32(name: &'static str, values: &[u32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name, dtype: Dtype::U32, shape: vec![values.len()], bytes }
    }

    fn view(&self) -> TensorView<'_> {
        TensorView::new(self.dtype, self.shape.clone(), &self.bytes)
            .expect("shape and values agree by construction")
    }
}

/// Reads tensors by name, and counts them.
struct Reader<'a> {
    file: &'a SafeTensors<'a>,
    read: usize,
}

impl<'a> Reader<'a> {
    /// A tensor's bytes in groups of four. A `shape` of `None` accepts any one-dimensional tensor.
    fn tensor(
        &mut self,
        tensor: &'static str,
        dtype: Dtype,
        shape: Option<Vec<usize>>,
    ) -> Result<impl Iterator<Item = [u8; 4]> + use<'a>, LoadError> {
        let view = self.file.tensor(tensor).map_err(|_| LoadError::MissingTensor { tensor })?;
        let expected = shape.unwrap_or_else(|| vec![view.shape().iter().product()]);
        if view.dtype() != dtype || view.shape() != expected {
            let [dtype, actual_dtype] = [dtype, view.dtype()].map(|dtype| format!("{dtype:?}"));
            let actual = view.shape().to_vec();
            return Err(LoadError::Shape { tensor, dtype, expected, actual_dtype, actual });
        }
        self.read += 1;
        Ok(view.data().as_chunks::<4>().0.iter().copied())
    }

    fn weights(&mut self, tensor: &'static str, shape: Vec<usize>) -> Result<Vec<f32>, LoadError> {
        let values: Vec<f32> =
            self.tensor(tensor, Dtype::F32, Some(shape))?.map(f32::from_le_bytes).collect();
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(LoadError::NonFinite { tensor, index, value: values[index] }),
            None => Ok(values),
        }
    }

    /// Weights of a size at which no pre-activation leaves f32's range. The state grows by less than 2 a step, so it
    /// stays below 128.
    fn cell_weights(&mut self, tensor: &'static str, shape: Vec<usize>) -> Result<Vec<f32>, LoadError> {
        const MAX: f32 = 1e9;
        let values = self.weights(tensor, shape)?;
        match values.iter().position(|value| value.abs() > MAX) {
            Some(index) => Err(LoadError::WeightRange { tensor, index, value: values[index], max: MAX }),
            None => Ok(values),
        }
    }

    fn risk_path(&mut self) -> Result<Vec<RiskStep>, LoadError> {
        if [RISK.confidence_threshold, RISK.max_uncertainty, RISK.n, RISK.failures]
            .iter()
            .all(|name| self.file.tensor(name).is_err())
        {
            return Ok(vec![]);
        }
        let confidences: Vec<f32> =
            self.tensor(RISK.confidence_threshold, Dtype::F32, None)?.map(f32::from_le_bytes).collect();
        at_most(RISK.confidence_threshold, MAX_STEPS, confidences.len())?;
        let steps = Some(vec![confidences.len()]);
        let uncertainties: Vec<f32> =
            self.tensor(RISK.max_uncertainty, Dtype::F32, steps.clone())?.map(f32::from_le_bytes).collect();
        let rows: Vec<u32> =
            self.tensor(RISK.n, Dtype::U32, steps.clone())?.map(u32::from_le_bytes).collect();
        let failures: Vec<u32> =
            self.tensor(RISK.failures, Dtype::U32, steps)?.map(u32::from_le_bytes).collect();
        require(RISK.confidence_threshold, &confidences, "0 to 1", |i| {
            (0.0..=1.0).contains(&confidences[i])
        })?;
        require(RISK.max_uncertainty, &uncertainties, "0 to 1", |i| (0.0..=1.0).contains(&uncertainties[i]))?;
        require(RISK.failures, &failures, "at most risk.n", |i| failures[i] <= rows[i])?;
        let step = |i| RiskStep {
            confidence_threshold: confidences[i],
            max_uncertainty: uncertainties[i],
            n: rows[i],
            failures: failures[i],
        };
        Ok((0..confidences.len()).map(step).collect())
    }

    fn table(&mut self, names: &TableNames) -> Result<CalibrationTable, LoadError> {
        let floats = |bytes: [u8; 4]| f32::from_le_bytes(bytes);
        let integers = |bytes: [u8; 4]| u32::from_le_bytes(bytes);
        let mut table = CalibrationTable {
            similarity_edges: self.tensor(names.similarity_edges, Dtype::F32, None)?.map(floats).collect(),
            count_edges: self.tensor(names.count_edges, Dtype::U32, None)?.map(integers).collect(),
            offsets: self.tensor(names.offsets, Dtype::U32, None)?.map(integers).collect(),
            scores: self.tensor(names.scores, Dtype::F32, None)?.map(floats).collect(),
            lookup: Lookup::default(),
        };
        let (edges, offsets) = (&table.similarity_edges, &table.offsets);
        at_most(names.offsets, MAX_BINS + 1, offsets.len())?;
        require(names.similarity_edges, edges, "finite and ascending", |i| {
            edges[i].is_finite() && (i == 0 || edges[i - 1] < edges[i])
        })?;
        require(names.count_edges, &table.count_edges, "ascending", |i| {
            i == 0 || table.count_edges[i - 1] < table.count_edges[i]
        })?;
        if offsets.len() != table.bins() + 1 {
            return Err(LoadError::Shape {
                tensor: names.offsets,
                dtype: format!("{:?}", Dtype::U32),
                expected: vec![table.bins() + 1],
                actual_dtype: format!("{:?}", Dtype::U32),
                actual: vec![offsets.len()],
            });
        }
        let last = offsets.len() - 1;
        require(names.offsets, offsets, "ascending from 0 to the number of scores", |i| {
            let from = if i == 0 { 0 } else { offsets[i - 1] };
            from <= offsets[i]
                && (i > 0 || offsets[0] == 0)
                && (i < last || offsets[i] as usize == table.scores.len())
        })?;
        // Offsets ascend, so a binary search finds whether a bin starts at a score.
        let starts = |i: usize| offsets.binary_search(&(i as u32)).is_ok();
        require(names.scores, &table.scores, "0 to 1, ascending within a bin", |i| {
            (0.0..=1.0).contains(&table.scores[i])
                && (i == 0 || table.scores[i - 1] <= table.scores[i] || starts(i))
        })?;
        table.prepare();
        Ok(table)
    }
}

fn at_most(tensor: &'static str, max: usize, actual: usize) -> Result<(), LoadError> {
    if actual <= max { Ok(()) } else { Err(LoadError::TensorLength { tensor, max, actual }) }
}

/// Checks a condition of each element of a tensor, and reports the first that breaks it.
fn require<T: Copy + Into<f64>>(
    tensor: &'static str,
    values: &[T],
    expected: &'static str,
    holds: impl Fn(usize) -> bool,
) -> Result<(), LoadError> {
    match (0..values.len()).find(|&index| !holds(index)) {
        Some(index) => Err(LoadError::Calibration { tensor, index, value: values[index].into(), expected }),
        None => Ok(()),
    }
}
