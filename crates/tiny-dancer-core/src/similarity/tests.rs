use super::*;
use proptest::prelude::*;

/// The function that computes similarities: of rows with known norms, of all rows at once, or of one row at a time.
#[derive(Clone, Copy)]
enum How {
    ByNorm,
    AtOnce,
    Single,
}

struct Similarities<'a>(How, Kernel, Cosine<'a>, &'a [Vec<f32>]);

impl WithSimd for Similarities<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        let Self(how, kernel, query, rows) = self;
        let mut similarities = vec![];
        match how {
            How::ByNorm => {
                for four in rows.chunks(4) {
                    if let [a, b, c, d] = four {
                        let norms = [norm(kernel, a), norm(kernel, b), norm(kernel, c), norm(kernel, d)];
                        similarities.extend(query.similarities_by_norm(simd, [a, b, c, d], &norms));
                    } else {
                        for row in four {
                            similarities.extend(query.similarities_by_norm(
                                simd,
                                [row],
                                &[norm(kernel, row)],
                            ));
                        }
                    }
                }
            }
            How::AtOnce => {
                similarities.resize(rows.len(), 0.0);
                query.similarities(simd, rows, Vec::as_slice, &mut similarities);
            }
            How::Single => {
                for row in rows {
                    let mut similarity = [0.0];
                    query.similarities(simd, &[row], |row| row.as_slice(), &mut similarity);
                    similarities.extend(similarity);
                }
            }
        }
        similarities
    }
}

/// The cosine by its definition, in f64.
fn similarity_f64(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    (dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())).clamp(-1.0, 1.0) as f32
}

/// A query and rows of its length, of any scale within f32's range.
fn scaled() -> impl Strategy<Value = (Vec<f32>, Vec<Vec<f32>>)> {
    let vector = |n| {
        (proptest::collection::vec(-1.0..1.0_f32, n), -30..30_i32)
            .prop_map(|(values, exponent)| {
                values.iter().map(|x| x * 10_f32.powi(exponent)).collect::<Vec<_>>()
            })
            .prop_filter("a direction", |values| values.iter().any(|&x| x != 0.0))
    };
    (1..70_usize).prop_flat_map(move |n| (vector(n), proptest::collection::vec(vector(n), 1..40)))
}

proptest! {
    #[test]
    fn the_cosine_equals_that_of_f64_at_any_scale_and_beside_any_rows((query, rows) in scaled()) {
        let mut vectors = None;
        for kernel in Kernel::available() {
            let checked = Cosine::new(kernel, &query).unwrap();
            let similarities = |how| kernel.dispatch(Similarities(how, kernel, checked, &rows));
            let single = similarities(How::Single);
            for (similarity, row) in single.iter().zip(&rows) {
                prop_assert!((similarity - similarity_f64(&query, row)).abs() < 2e-6);
                prop_assert!((-1.0..=1.0).contains(similarity));
            }
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            prop_assert_eq!(bits(similarities(How::AtOnce)), bits(single.clone()));
            prop_assert_eq!(bits(similarities(How::ByNorm)), bits(single.clone()));
            if kernel.name() != "scalar" {
                let first = vectors.get_or_insert_with(|| bits(single.clone()));
                prop_assert_eq!(first, &bits(single), "vectors of another length");
            }
        }
    }
}

#[test]
fn a_row_without_direction_has_no_similarity() {
    for kernel in Kernel::available() {
        let query = Cosine::new(kernel, &[1.0, 2.0]).unwrap();
        let rows = [vec![0.0, 0.0], vec![f32::NAN, 1.0], vec![f32::INFINITY, 1.0]];
        for how in [How::ByNorm, How::AtOnce, How::Single] {
            let similarities = kernel.dispatch(Similarities(how, kernel, query, &rows));
            assert!(similarities.iter().all(|similarity| similarity.is_nan()), "{similarities:?}");
        }
    }
}
