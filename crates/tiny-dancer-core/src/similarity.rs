//! Similarity: the cosine of a query with candidates' embeddings.
//!
//! Products are summed in vectors. The order of a sum depends neither on the number of rows at a time nor on the length
//! of the vectors. So a candidate has the same similarity beside any other candidates, and in a
//! [`CandidateSet`](crate::CandidateSet).

use crate::RouteError;
use crate::kernel::Kernel;
use pulp::{Simd, WithSimd};

/// A squared norm in this range has f32's full precision. Outside this range squares overflow or underflow, so f64 is
/// used.
const PLAIN: std::ops::RangeInclusive<f32> = 1e-30..=1e30;

/// The number of partial sums of a product: the same on any machine, so that vectors of all lengths give the same bits.
const SUMS: usize = 16;

/// The number of rows that are divided at a time: a square root and a division take as long for one row as for a vector.
const BLOCK: usize = 32;

/// A checked query, ready for comparison.
#[derive(Clone, Copy)]
pub(crate) struct Cosine<'a> {
    kernel: Kernel,
    embedding: &'a [f32],
    norm: f32,
    /// The norm, also where its square is outside f32's range.
    exact_norm: f64,
    /// Whether the squared norm is in f32's range.
    plain: bool,
}

impl<'a> Cosine<'a> {
    pub(crate) fn new(kernel: Kernel, embedding: &'a [f32]) -> Result<Self, RouteError> {
        if embedding.is_empty() {
            return Err(RouteError::EmptyQuery);
        }
        let squared_norm = kernel.dispatch(SquaredNorm(embedding));
        let (norm, plain) = (squared_norm.sqrt(), PLAIN.contains(&squared_norm));
        let mut exact_norm = f64::from(norm);
        if !plain {
            check(embedding, None)?;
            exact_norm = kernel.dispatch(ExactProducts { query: embedding, row: embedding }).1.sqrt();
        }
        Ok(Self { kernel, embedding, norm, exact_norm, plain })
    }

    /// The query's dimension.
    pub(crate) fn dimensions(&self) -> usize {
        self.embedding.len()
    }

    /// The cosines of the query with the rows of some items, each of the query's length. NaN for a row of zeros or with
    /// an element that is not finite. Returns whether no cosine is NaN.
    #[inline(always)]
    pub(crate) fn similarities<S: Simd, T>(
        &self,
        simd: S,
        items: &[T],
        row: impl Fn(&T) -> &[f32],
        similarities: &mut [f32],
    ) -> bool {
        // With longer vectors a row needs fewer registers.
        if S::F32_LANES < SUMS {
            self.similarities_of::<S, T, 2>(simd, items, row, similarities)
        } else {
            self.similarities_of::<S, T, 4>(simd, items, row, similarities)
        }
    }

    /// The same, with `ROWS` rows at a time.
    #[inline(always)]
    fn similarities_of<S: Simd, T, const ROWS: usize>(
        &self,
        simd: S,
        items: &[T],
        row: impl Fn(&T) -> &[f32],
        similarities: &mut [f32],
    ) -> bool {
        let mut good = true;
        for (items, block) in items.chunks(BLOCK).zip(similarities.chunks_mut(BLOCK)) {
            let mut squared_norms = [1.0; BLOCK];
            let (groups, rest) = items.as_chunks::<ROWS>();
            for (group, items) in groups.iter().enumerate() {
                let rows: [&[f32]; ROWS] = std::array::from_fn(|i| row(&items[i]));
                let products = products::<S, ROWS, true>(simd, self.embedding, rows);
                for i in 0..ROWS {
                    (block[group * ROWS + i], squared_norms[group * ROWS + i]) = products[i];
                }
            }
            for (i, item) in (items.len() - rest.len()..).zip(rest) {
                [(block[i], squared_norms[i])] = products::<S, 1, true>(simd, self.embedding, [row(item)]);
            }
            // A fixed number of comparisons: elements without a row are 1, which is in the range.
            let mut plain = self.plain;
            for squared_norm in &squared_norms {
                plain &= PLAIN.contains(squared_norm);
            }
            if plain {
                self.divide(simd, block, &squared_norms);
            } else {
                for ((similarity, squared_norm), item) in block.iter_mut().zip(squared_norms).zip(items) {
                    let norm = if PLAIN.contains(&squared_norm) { squared_norm.sqrt() } else { 0.0 };
                    *similarity = self.cosine(*similarity, norm, row(item));
                    good &= !similarity.is_nan();
                }
            }
        }
        good
    }

    /// Turns products into cosines, where all squared norms are in f32's range: as [`cosine`](Self::cosine), but a vector
    /// at a time.
    #[inline(always)]
    fn divide<S: Simd>(&self, simd: S, products: &mut [f32], squared_norms: &[f32; BLOCK]) {
        let (vectors, rest) = S::as_mut_simd_f32s(products);
        let (squared_norms, _) = S::as_simd_f32s(squared_norms);
        let whole = vectors.len();
        for (product, &squared_norm) in vectors.iter_mut().zip(squared_norms) {
            *product = self.quotient(simd, *product, squared_norm);
        }
        if !rest.is_empty() {
            let quotient = self.quotient(simd, simd.partial_load_f32s(rest), squared_norms[whole]);
            simd.partial_store_f32s(rest, quotient);
        }
    }

    #[inline(always)]
    fn quotient<S: Simd>(&self, simd: S, product: S::f32s, squared_norm: S::f32s) -> S::f32s {
        let norms = simd.mul_f32s(simd.splat_f32s(self.norm), simd.sqrt_f32s(squared_norm));
        let cosine = simd.div_f32s(product, norms);
        simd.min_f32s(simd.splat_f32s(1.0), simd.max_f32s(simd.splat_f32s(-1.0), cosine))
    }

    /// The cosines of the query with rows of known norms; 0 stands for a norm whose square is outside f32's range.
    #[inline(always)]
    pub(crate) fn similarities_by_norm<S: Simd, const ROWS: usize>(
        &self,
        simd: S,
        rows: [&[f32]; ROWS],
        norms: &[f32; ROWS],
    ) -> [f32; ROWS] {
        let products = products::<S, ROWS, false>(simd, self.embedding, rows);
        let mut similarities = [0.0; ROWS];
        for row in 0..ROWS {
            similarities[row] = self.cosine(products[row].0, norms[row], rows[row]);
        }
        similarities
    }

    #[inline(always)]
    fn cosine(&self, dot: f32, norm: f32, row: &[f32]) -> f32 {
        if self.plain && norm > 0.0 {
            (dot / (self.norm * norm)).clamp(-1.0, 1.0)
        } else {
            self.exact_cosine(norm, row)
        }
    }

    /// The cosine in f64, for squares outside f32's range: f64's range holds each sum of squares of f32. NaN for a row of
    /// zeros or with an element that is not finite.
    #[cold]
    fn exact_cosine(&self, norm: f32, row: &[f32]) -> f32 {
        let (dot, squared_norm) = self.kernel.dispatch(ExactProducts { query: self.embedding, row });
        let norm = if norm > 0.0 { f64::from(norm) } else { squared_norm.sqrt() };
        (dot / (self.exact_norm * norm)).clamp(-1.0, 1.0) as f32
    }
}

/// `query . row` and `row . row` in f64, with as many partial sums as in f32.
struct ExactProducts<'a> {
    query: &'a [f32],
    row: &'a [f32],
}

impl WithSimd for ExactProducts<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (f64, f64) {
        let (mut dot, mut squared) = ([0.0_f64; SUMS], [0.0_f64; SUMS]);
        let ((queries, query), (rows, row)) = (self.query.as_chunks::<SUMS>(), self.row.as_chunks::<SUMS>());
        for (query, row) in queries.iter().zip(rows) {
            for sum in 0..SUMS {
                let (a, b) = (f64::from(query[sum]), f64::from(row[sum]));
                dot[sum] += a * b;
                squared[sum] += b * b;
            }
        }
        for (sum, (&a, &b)) in query.iter().zip(row).enumerate() {
            dot[sum] += f64::from(a) * f64::from(b);
            squared[sum] += f64::from(b) * f64::from(b);
        }
        (dot.iter().sum(), squared.iter().sum())
    }
}

/// The norm of an embedding, or 0 where its square is outside f32's range.
pub(crate) fn norm(kernel: Kernel, embedding: &[f32]) -> f32 {
    let squared_norm = kernel.dispatch(SquaredNorm(embedding));
    if PLAIN.contains(&squared_norm) { squared_norm.sqrt() } else { 0.0 }
}

struct SquaredNorm<'a>(&'a [f32]);

impl WithSimd for SquaredNorm<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        products::<S, 1, true>(simd, self.0, [self.0])[0].1
    }
}

/// Returns an error that names the first element that is not finite, or an embedding of zeros.
#[cold]
pub(crate) fn check(embedding: &[f32], candidate: Option<usize>) -> Result<(), RouteError> {
    if let Some(index) = embedding.iter().position(|x| !x.is_finite()) {
        return Err(RouteError::NonFiniteEmbedding { candidate, index, value: embedding[index] });
    }
    if embedding.iter().all(|&x| x == 0.0) {
        return Err(RouteError::ZeroNorm { candidate });
    }
    Ok(())
}

/// `query . row` for rows of the query's length, and with `SQUARED` also `row . row`.
#[inline(always)]
fn products<S: Simd, const ROWS: usize, const SQUARED: bool>(
    simd: S,
    query: &[f32],
    rows: [&[f32]; ROWS],
) -> [(f32, f32); ROWS] {
    // This number of vectors has a lane for each sum.
    match S::F32_LANES {
        16 => products_by::<S, ROWS, SQUARED, 1>(simd, query, rows),
        8 => products_by::<S, ROWS, SQUARED, 2>(simd, query, rows),
        4 => products_by::<S, ROWS, SQUARED, 4>(simd, query, rows),
        _ => rows.map(|row| plain_products(query, row)),
    }
}

/// The same with `VECTORS` independent vectors of sums, so that additions overlap.
#[inline(always)]
fn products_by<S: Simd, const ROWS: usize, const SQUARED: bool, const VECTORS: usize>(
    simd: S,
    query: &[f32],
    rows: [&[f32]; ROWS],
) -> [(f32, f32); ROWS] {
    let zero = simd.splat_f32s(0.0);
    let (mut dot, mut squared) = ([[zero; VECTORS]; ROWS], [[zero; VECTORS]; ROWS]);
    let (vectors, rest) = S::as_simd_f32s(query);
    let (groups, odd) = vectors.as_chunks::<VECTORS>();
    let heads: [_; ROWS] = std::array::from_fn(|row| &S::as_simd_f32s(rows[row]).0[..vectors.len()]);
    let head_groups: [_; ROWS] =
        std::array::from_fn(|row| &heads[row].as_chunks::<VECTORS>().0[..groups.len()]);
    // No closure may hold a vector: it would be compiled for the scalar instruction set.
    for group in 0..groups.len() {
        for row in 0..ROWS {
            for v in 0..VECTORS {
                let (a, b) = (groups[group][v], head_groups[row][group][v]);
                dot[row][v] = simd.mul_add_e_f32s(a, b, dot[row][v]);
                if SQUARED {
                    squared[row][v] = simd.mul_add_e_f32s(b, b, squared[row][v]);
                }
            }
        }
    }
    let mut products = [(0.0, 0.0); ROWS];
    for row in 0..ROWS {
        for v in 0..odd.len() {
            let (a, b) = (odd[v], heads[row][vectors.len() - odd.len() + v]);
            dot[row][v] = simd.mul_add_e_f32s(a, b, dot[row][v]);
            squared[row][v] = simd.mul_add_e_f32s(b, b, squared[row][v]);
        }
        if !rest.is_empty() {
            let a = simd.partial_load_f32s(rest);
            let b = simd.partial_load_f32s(&rows[row][query.len() - rest.len()..]);
            let v = odd.len();
            dot[row][v] = simd.mul_add_e_f32s(a, b, dot[row][v]);
            squared[row][v] = simd.mul_add_e_f32s(b, b, squared[row][v]);
        }
        products[row].0 = sum(simd, dot[row]);
        if SQUARED {
            products[row].1 = sum(simd, squared[row]);
        }
    }
    products
}

/// The total of all sums, by halves, so that two vectors give the same bits as one of twice the length.
#[inline(always)]
fn sum<S: Simd, const VECTORS: usize>(simd: S, mut sums: [S::f32s; VECTORS]) -> f32 {
    let mut vectors = VECTORS;
    while vectors > 1 {
        vectors /= 2;
        for v in 0..vectors {
            sums[v] = simd.add_f32s(sums[v], sums[vectors + v]);
        }
    }
    simd.reduce_sum_f32s(sums[0])
}

/// [`products`] without vectors, with as many partial sums, so that it is as precise.
#[inline(always)]
fn plain_products(query: &[f32], row: &[f32]) -> (f32, f32) {
    let (mut dot, mut squared) = ([0.0_f32; SUMS], [0.0_f32; SUMS]);
    for (query, row) in query.chunks(SUMS).zip(row.chunks(SUMS)) {
        for (sum, (a, b)) in query.iter().zip(row).enumerate() {
            dot[sum] += a * b;
            squared[sum] += b * b;
        }
    }
    (dot.iter().sum(), squared.iter().sum())
}

#[cfg(test)]
mod tests;
