use super::*;
use crate::kernel::Portable;
use crate::snapshot::unit;
use crate::testing::{Drawn, entries};

fn coded(kernel: Kernel, rotation: &Rotation, vectors: &[Vec<f32>]) -> Codes {
    let centre = Arc::new(Centre::of(rotation, vectors.iter().map(Vec::as_slice)));
    let entries: Vec<_> = entries(vectors.to_vec()).into_iter().map(Arc::new).collect();
    Codes::of(kernel, rotation, &centre, &entries)
}

fn units(n: usize, dimensions: usize) -> Vec<Vec<f32>> {
    let vectors = Drawn::new(3).texts(n, dimensions);
    vectors.iter().map(|vector| unit(vector, None, dimensions).unwrap()).collect()
}

struct All<'a>(&'a Codes, &'a Table);

impl Work for All<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<I: Instructions>(self, instructions: I) -> Vec<f32> {
        self.0.blocks().flat_map(|block| self.1.upper(instructions, block)).collect()
    }
}

/// The estimates of all vectors, with a margin of so many standard errors.
fn estimates(kernel: Kernel, rotation: &Rotation, codes: &Codes, query: &[f32], allowed: f32) -> Vec<f32> {
    let mut rotated = vec![0.0; rotation.dimensions()];
    rotated[..query.len()].copy_from_slice(query);
    rotation.rotate(&mut rotated);
    kernel.dispatch(All(codes, &Table::new(query, &rotated, &codes.centre, allowed)))
}

/// The errors of the estimates of many queries, in standard errors.
fn errors(dimensions: usize) -> Vec<f32> {
    let vectors = units(SEGMENT + 20, dimensions);
    let rotation = Rotation::new(dimensions);
    let codes = coded(Kernel::detect(), &rotation, &vectors[..SEGMENT]);
    let mut errors = Vec::new();
    for query in &vectors[SEGMENT..] {
        let of = |allowed| estimates(Kernel::detect(), &rotation, &codes, query, allowed);
        for ((estimate, upper), vector) in of(0.0).into_iter().zip(of(1.0)).zip(&vectors[..SEGMENT]) {
            errors.push((estimate - product(query, vector)) / (upper - estimate));
        }
    }
    errors
}

#[test]
fn estimates_have_no_bias_and_the_standard_error_of_their_margin() {
    for dimensions in [100, 256, 384] {
        let errors = errors(dimensions);
        let mean = errors.iter().sum::<f32>() / errors.len() as f32;
        let variance = errors.iter().map(|error| error * error).sum::<f32>() / errors.len() as f32;
        assert!(mean.abs() < 0.05, "{dimensions}: mean {mean}");
        assert!((0.9..1.1).contains(&variance.sqrt()), "{dimensions}: standard error {}", variance.sqrt());
    }
}

#[test]
fn products_of_bytes_have_the_standard_error_of_rounding() {
    let vectors = units(SEGMENT + 1, 256);
    let codes = coded(Kernel::detect(), &Rotation::new(256), &vectors[..SEGMENT]);
    let query = &vectors[SEGMENT];
    let integers = integers(query);
    let errors = vectors[..SEGMENT].iter().enumerate().map(|(row, vector)| {
        let (estimate, error) = codes.product(Portable, row, &integers);
        (estimate - product(query, vector)) / error
    });
    let variance = errors.map(|error| error * error).sum::<f32>() / SEGMENT as f32;
    assert!((0.85..1.15).contains(&variance.sqrt()), "standard error {}", variance.sqrt());
}

#[test]
fn all_kernels_give_the_same_codes_and_estimates() {
    for dimensions in [7, 256, 300] {
        let vectors = units(SEGMENT, dimensions);
        let rotation = Rotation::new(dimensions);
        let results = Kernel::available().into_iter().map(|kernel| {
            let codes = coded(kernel, &rotation, &vectors);
            let estimates = estimates(kernel, &rotation, &codes, &vectors[0], 1.0);
            (codes.blocks, codes.bytes, codes.scales, estimates)
        });
        let results: Vec<_> = results.collect();
        assert!(results.iter().all(|result| *result == results[0]), "{dimensions}");
    }
}

#[test]
fn equal_vectors_are_estimated_exactly() {
    let vectors = vec![vec![0.6, 0.8]; SEGMENT];
    let rotation = Rotation::new(2);
    let codes = coded(Kernel::detect(), &rotation, &vectors);
    let estimates = estimates(Kernel::detect(), &rotation, &codes, &[1.0, 0.0], 0.0);
    assert!(estimates.iter().all(|estimate| (estimate - 0.6).abs() < 1e-4), "{:?}", &estimates[..4]);
}

struct IntegerProduct<'a>(&'a [[i16; ELEMENTS]], &'a [Line]);

impl Work for IntegerProduct<'_> {
    type Output = i32;

    #[inline(always)]
    fn run<I: Instructions>(self, instructions: I) -> i32 {
        instructions.product(self.0, self.1)
    }
}

#[test]
fn all_kernels_give_the_same_integer_product() {
    let vectors = units(2, 300);
    let (query, codes) = (integers(&vectors[0]), integers(&vectors[1]));
    let bytes: Vec<Line> = codes.iter().map(|line| Line(line.map(|x| (x / 256) as u8))).collect();
    let pairs = query.as_flattened().iter().zip(codes.as_flattened());
    let expected: i32 = pairs.map(|(&a, &b)| i32::from(a) * i32::from(b / 256)).sum();
    for kernel in Kernel::available() {
        assert_eq!(kernel.dispatch(IntegerProduct(&query, &bytes)), expected, "{kernel:?}");
    }
}

#[test]
fn integer_products_of_the_largest_vectors_do_not_overflow() {
    // The product is largest where all elements are equal.
    let n = 1 << 15;
    let element = (n as f32).sqrt().recip();
    let (query, bytes) = (integers(&vec![element; n]), vec![Line([127; 64]); n / 64]);
    for kernel in Kernel::available() {
        let product = kernel.dispatch(IntegerProduct(&query, &bytes));
        assert!((product as f32 * (element / LARGEST / UNIT) - 1.0).abs() < 0.01, "{kernel:?}: {product}");
    }
}
