//! Kernels: the instruction sets for which the scan of a text and the sum of rows are compiled.
//!
//! `pulp` compiles a [`Work`] for an instruction set and calls it only where the processor has it. What pulp's own vectors
//! lack is in [`Instructions`]: the classes of 64 bytes as masks, and sums of rows. All kernels give the same bits.

use pulp::NullaryFnOnce;

/// An instruction set of this machine. All of them give the same tokens and the same bits.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(Set);

#[derive(Clone, Copy, Debug)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Sse2(pulp::core_arch::x86::Sse2),
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
}

impl Kernel {
    /// The fastest that this machine runs.
    pub fn detect() -> Self {
        *Self::available().last().unwrap_or(&Self(Set::Portable))
    }

    /// All that this machine runs, slowest first.
    pub fn available() -> Vec<Self> {
        let mut kernels = vec![Self(Set::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            kernels.extend(pulp::core_arch::x86::Sse2::try_new().map(|simd| Self(Set::Sse2(simd))));
            kernels.extend(pulp::x86::V3::try_new().map(|simd| Self(Set::Avx2(simd))));
            kernels.extend(pulp::x86::V4::try_new().map(|simd| Self(Set::Avx512(simd))));
        }
        kernels
    }

    /// Its name in records: `portable`, `sse2`, `avx2` or `avx512`. The compiler turns `portable` into NEON on ARM.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Sse2(_) => "sse2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
        }
    }

    /// Runs work with these instructions. All functions that it calls must be `#[inline(always)]`, or not worth it.
    #[inline]
    pub(crate) fn dispatch<W: Work>(self, work: W) -> W::Output {
        match self.0 {
            Set::Portable => work.run(Portable),
            // Every processor of this architecture has it, so nothing is compiled separately.
            #[cfg(target_arch = "x86_64")]
            Set::Sse2(simd) => work.run(simd),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(simd) => simd.vectorize(Compiled { work, instructions: simd }),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(simd) => simd.vectorize(Compiled { work, instructions: simd }),
        }
    }
}

/// Work that is compiled for each instruction set. Implementations are `#[inline(always)]`.
pub(crate) trait Work {
    type Output;

    fn run<I: Instructions>(self, instructions: I) -> Self::Output;
}

struct Compiled<W, I> {
    work: W,
    instructions: I,
}

impl<W: Work, I: Instructions> NullaryFnOnce for Compiled<W, I> {
    type Output = W::Output;

    #[inline(always)]
    fn call(self) -> W::Output {
        self.work.run(self.instructions)
    }
}

/// The classes of 64 bytes; bit `i` stands for byte `i`. A byte of no class is whitespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Classes {
    /// ASCII letters and digits.
    pub(crate) word: u64,
    /// ASCII punctuation.
    pub(crate) punctuation: u64,
    /// Control characters, and all bytes outside ASCII.
    pub(crate) other: u64,
}

/// Two rows of a table and their weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) rows: [u32; 2],
    pub(crate) weights: [i16; 2],
}

impl Pair {
    #[inline(always)]
    fn of(self, rows: &[i8], dimensions: usize) -> [&[i8]; 2] {
        self.rows.map(|row| &rows[row as usize * dimensions..][..dimensions])
    }
}

/// What an instruction set does.
pub(crate) trait Instructions: Copy {
    fn classes(self, bytes: &[u8; 64]) -> Classes;

    /// Adds the rows of all pairs, each by its weight, to `sums`, which has an element for each dimension. `rows` has all rows,
    /// one after the other.
    ///
    /// Rows are added in pairs since one instruction multiplies 16-bit integers and adds two neighbours. Sums of integers are
    /// exact, so their order doesn't matter; the weights are small enough that none overflows.
    fn add(self, pairs: &[Pair], rows: &[i8], sums: &mut [i32]);
}

/// Plain code: eight bytes at a time in one `u64`, and loops that the compiler vectorises.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// A byte in each byte of a `u64`.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

impl Instructions for Portable {
    #[inline(always)]
    fn classes(self, bytes: &[u8; 64]) -> Classes {
        let (mut word, mut punctuation, mut other) = (0, 0, 0);
        let (eights, _) = bytes.as_chunks::<8>();
        for (i, eight) in eights.iter().enumerate() {
            let x = u64::from_le_bytes(*eight);
            let (high, low) = (x & each(0x80), x & each(0x7f));
            // The high bit of each byte: it is at least this one. No subtraction borrows from the next byte.
            let at_least = |x: u64, least: u8| (x | each(0x80)) - each(least);
            let within =
                |x: u64, first: u8, last: u8| at_least(x, first) & !at_least(x, last + 1) & each(0x80);
            let letter = within(low | each(0x20), b'a', b'z');
            let alphanumeric = (letter | within(low, b'0', b'9')) & !high;
            let visible = within(low, b'!', b'~') & !high;
            let space =
                (within(low, b' ', b' ') | within(low, b'\t', b'\n') | within(low, b'\r', b'\r')) & !high;
            // One bit of each byte, in the order of the bytes.
            let gather = |x: u64| ((x >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
            word |= gather(alphanumeric);
            punctuation |= gather(visible & !alphanumeric);
            other |= gather(!(visible | space) & each(0x80));
        }
        Classes { word, punctuation, other }
    }

    #[inline(always)]
    fn add(self, pairs: &[Pair], rows: &[i8], sums: &mut [i32]) {
        add_from(0, pairs, rows, sums);
    }
}

/// [`Instructions::add`] for the dimensions from this one on.
#[inline(always)]
fn add_from(from: usize, pairs: &[Pair], rows: &[i8], sums: &mut [i32]) {
    for pair in pairs {
        for (row, weight) in pair.of(rows, sums.len()).into_iter().zip(pair.weights) {
            for (sum, x) in sums[from..].iter_mut().zip(&row[from..]) {
                *sum += i32::from(*x) * i32::from(weight);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Classes, Instructions, Pair, Portable, add_from};
    use pulp::core_arch::x86::Sse2;
    use pulp::x86::{V3, V4};
    use pulp::{cast, i32x4, i32x8, i32x16};

    /// Two vectors of sums.
    trait Multiply: Copy {
        /// The dimensions of two vectors of sums.
        const WIDTH: usize;
        type Vector: Copy;

        fn splat(self, bits: i32) -> Self::Vector;

        /// Adds `a` and `b`, by their weights, to the sums of as many dimensions.
        fn multiply(self, a: &[i8], b: &[i8], weights: Self::Vector, sums: &mut [Self::Vector; 2]);

        /// Adds the vectors to the sums of as many dimensions.
        fn store(self, vectors: [Self::Vector; 2], sums: &mut [i32]);
    }

    impl Multiply for Sse2 {
        const WIDTH: usize = 8;
        type Vector = i32x4;

        #[inline(always)]
        fn splat(self, bits: i32) -> i32x4 {
            cast([bits; 4])
        }

        #[inline(always)]
        fn multiply(self, a: &[i8], b: &[i8], weights: i32x4, sums: &mut [i32x4; 2]) {
            let [a, b] = [a, b].map(|row| cast([*chunk::<8>(row), [0; 8]]));
            let mixed = self._mm_unpacklo_epi8(a, b);
            // Each byte twice, so that a shift extends its sign.
            let twice = [self._mm_unpacklo_epi8(mixed, mixed), self._mm_unpackhi_epi8(mixed, mixed)];
            for i in 0..2 {
                let products = self._mm_madd_epi16(self._mm_srai_epi16::<8>(twice[i]), cast(weights));
                sums[i] = cast(self._mm_add_epi32(cast(sums[i]), products));
            }
        }

        #[inline(always)]
        fn store(self, vectors: [i32x4; 2], sums: &mut [i32]) {
            let added: [i32; 8] = cast(vectors);
            for (sum, added) in sums.iter_mut().zip(added) {
                *sum += added;
            }
        }
    }

    impl Multiply for V3 {
        const WIDTH: usize = 16;
        type Vector = i32x8;

        #[inline(always)]
        fn splat(self, bits: i32) -> i32x8 {
            self.splat_i32x8(bits)
        }

        #[inline(always)]
        fn multiply(self, a: &[i8], b: &[i8], weights: i32x8, sums: &mut [i32x8; 2]) {
            let (a, b) = (cast(*chunk::<16>(a)), cast(*chunk::<16>(b)));
            // a0 b0 a1 b1, and so on: neighbours are of one dimension.
            let mixed = [self.sse2._mm_unpacklo_epi8(a, b), self.sse2._mm_unpackhi_epi8(a, b)];
            for i in 0..2 {
                let products =
                    self.avx2._mm256_madd_epi16(self.avx2._mm256_cvtepi8_epi16(mixed[i]), cast(weights));
                sums[i] = self.wrapping_add_i32x8(sums[i], cast(products));
            }
        }

        #[inline(always)]
        fn store(self, vectors: [i32x8; 2], sums: &mut [i32]) {
            let added: [i32; 16] = cast(vectors);
            for (sum, added) in sums.iter_mut().zip(added) {
                *sum += added;
            }
        }
    }

    impl Multiply for V4 {
        const WIDTH: usize = 32;
        type Vector = i32x16;

        #[inline(always)]
        fn splat(self, bits: i32) -> i32x16 {
            self.splat_i32x16(bits)
        }

        #[inline(always)]
        fn multiply(self, a: &[i8], b: &[i8], weights: i32x16, sums: &mut [i32x16; 2]) {
            let (a, b) = (cast(*chunk::<32>(a)), cast(*chunk::<32>(b)));
            // Each half of a vector by itself: dimensions 0 to 7 and 16 to 23, then 8 to 15 and 24 to 31.
            let mixed = [self.avx2._mm256_unpacklo_epi8(a, b), self.avx2._mm256_unpackhi_epi8(a, b)];
            for i in 0..2 {
                let wide = self.avx512bw._mm512_cvtepi8_epi16(mixed[i]);
                let products = self.avx512bw._mm512_madd_epi16(wide, cast(weights));
                sums[i] = self.wrapping_add_i32x16(sums[i], cast(products));
            }
        }

        #[inline(always)]
        fn store(self, vectors: [i32x16; 2], sums: &mut [i32]) {
            let eights: [[i32; 8]; 4] = cast(vectors);
            for (sums, place) in sums.chunks_exact_mut(8).zip([0, 2, 1, 3]) {
                for (sum, added) in sums.iter_mut().zip(eights[place]) {
                    *sum += added;
                }
            }
        }
    }

    #[inline(always)]
    fn chunk<const N: usize>(bytes: &[i8]) -> &[i8; N] {
        bytes.first_chunk().expect("a row is cut into chunks of this length")
    }

    /// [`Instructions::add`] with twice `VECTORS` vectors of sums in registers.
    #[inline(always)]
    fn add<S: Multiply, const VECTORS: usize>(simd: S, pairs: &[Pair], rows: &[i8], sums: &mut [i32]) {
        let (dimensions, width) = (sums.len(), VECTORS * S::WIDTH);
        let mut from = 0;
        while from + width <= dimensions {
            let mut held = [[simd.splat(0); 2]; VECTORS];
            for pair in pairs {
                let [a, b] = pair.of(rows, dimensions).map(|row| &row[from..from + width]);
                let weights = simd.splat(cast(pair.weights));
                for v in 0..VECTORS {
                    let at = v * S::WIDTH;
                    simd.multiply(&a[at..at + S::WIDTH], &b[at..at + S::WIDTH], weights, &mut held[v]);
                }
            }
            for (vectors, sums) in held.into_iter().zip(sums[from..].chunks_exact_mut(S::WIDTH)) {
                simd.store(vectors, sums);
            }
            from += width;
        }
        add_from(from, pairs, rows, sums);
    }

    impl Instructions for Sse2 {
        #[inline(always)]
        fn classes(self, bytes: &[u8; 64]) -> Classes {
            Portable.classes(bytes)
        }

        #[inline(always)]
        fn add(self, pairs: &[Pair], rows: &[i8], sums: &mut [i32]) {
            add::<_, 4>(self, pairs, rows, sums);
        }
    }

    impl Instructions for V3 {
        #[inline(always)]
        fn classes(self, bytes: &[u8; 64]) -> Classes {
            let (halves, _) = bytes.as_chunks::<32>();
            let [low, high] = [classes_of_32(self, &halves[0]), classes_of_32(self, &halves[1])];
            let joined = |part: fn(&[u32; 3]) -> u32| u64::from(part(&low)) | u64::from(part(&high)) << 32;
            Classes { word: joined(|it| it[0]), punctuation: joined(|it| it[1]), other: joined(|it| it[2]) }
        }

        #[inline(always)]
        fn add(self, pairs: &[Pair], rows: &[i8], sums: &mut [i32]) {
            // Eight of sixteen registers are sums: a cache line of a row at a time.
            add::<_, 4>(self, pairs, rows, sums);
        }
    }

    /// Words, punctuation and others of 32 bytes.
    #[inline(always)]
    fn classes_of_32(simd: V3, bytes: &[u8; 32]) -> [u32; 3] {
        let simd = simd.avx2;
        let x = cast(*bytes);
        macro_rules! within {
            ($x:expr, $first:expr, $last:expr) => {{
                let from_first = simd._mm256_sub_epi8($x, cast([$first; 32]));
                let clamped = simd._mm256_min_epu8(from_first, cast([$last - $first; 32]));
                simd._mm256_movemask_epi8(simd._mm256_cmpeq_epi8(clamped, from_first)) as u32
            }};
        }
        let letter = within!(simd._mm256_or_si256(x, cast([0x20_u8; 32])), b'a', b'z');
        let word = letter | within!(x, b'0', b'9');
        let visible = within!(x, b'!', b'~');
        let space = within!(x, b' ', b' ') | within!(x, b'\t', b'\n') | within!(x, b'\r', b'\r');
        [word, visible & !word, !(visible | space)]
    }

    impl Instructions for V4 {
        #[inline(always)]
        fn classes(self, bytes: &[u8; 64]) -> Classes {
            let (wide, simd) = (self.avx512f, self.avx512bw);
            let x = cast(*bytes);
            macro_rules! within {
                ($x:expr, $first:expr, $last:expr) => {{
                    let from_first = simd._mm512_sub_epi8($x, cast([$first; 64]));
                    simd._mm512_cmple_epu8_mask(from_first, cast([$last - $first; 64]))
                }};
            }
            let letter = within!(wide._mm512_or_si512(x, cast([0x20_u8; 64])), b'a', b'z');
            let word = letter | within!(x, b'0', b'9');
            let visible = within!(x, b'!', b'~');
            let space = within!(x, b' ', b' ') | within!(x, b'\t', b'\n') | within!(x, b'\r', b'\r');
            Classes { word, punctuation: visible & !word, other: !(visible | space) }
        }

        #[inline(always)]
        fn add(self, pairs: &[Pair], rows: &[i8], sums: &mut [i32]) {
            // Sixteen of 32 registers are sums: a row of 256 dimensions at a time.
            if sums.len().is_multiple_of(256) {
                add::<_, 8>(self, pairs, rows, sums);
            } else {
                add::<_, 2>(self, pairs, rows, sums);
            }
        }
    }
}

#[cfg(test)]
mod tests;
