//! Kernels: the instruction sets for which the scan of a text and the sum of rows are compiled.
//!
//! `pulp` compiles a [`Work`] for an instruction set and calls it only where the processor has it. What pulp's own vectors
//! lack is in [`Instructions`]: the classes of 64 bytes as masks, and rows of `i8` as floats. All kernels give the same bits.

use pulp::NullaryFnOnce;

/// An instruction set of this machine. All of them give the same tokens and the same bits.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(Set);

#[derive(Clone, Copy, Debug)]
enum Set {
    Portable,
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
            kernels.extend(pulp::x86::V3::try_new().map(|simd| Self(Set::Avx2(simd))));
            kernels.extend(pulp::x86::V4::try_new().map(|simd| Self(Set::Avx512(simd))));
        }
        kernels
    }

    /// Its name in records: `portable`, `avx2` or `avx512`. The compiler turns `portable` into NEON or SSE2.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Portable => "portable",
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

/// What an instruction set does.
pub(crate) trait Instructions: Copy {
    fn classes(self, bytes: &[u8; 64]) -> Classes;

    /// Adds `scale * row` to each element, for each pair of a scale and a row as long as `sums`. Each product and each sum
    /// is rounded, in the order of the rows, so that all kernels give the same bits.
    fn add_rows<'a>(self, rows: impl Iterator<Item = (f32, &'a [i8])> + Clone, sums: &mut [f32]);
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
    fn add_rows<'a>(self, rows: impl Iterator<Item = (f32, &'a [i8])> + Clone, sums: &mut [f32]) {
        for (scale, row) in rows {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += scale * f32::from(x);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Classes, Instructions, Portable};
    use pulp::x86::{V3, V4};
    use pulp::{Simd, cast};

    /// A `Simd` that turns bytes into floats.
    trait Widen: Simd {
        /// The first bytes of a slice, as many as there are lanes, as floats.
        fn widen(self, bytes: &[i8]) -> Self::f32s;
    }

    impl Widen for V3 {
        #[inline(always)]
        fn widen(self, bytes: &[i8]) -> Self::f32s {
            let mut low = [0; 16];
            low[..8].copy_from_slice(&bytes[..8]);
            self.convert_i32x8_to_f32x8(self.convert_i8x16_to_i32x8(cast(low)))
        }
    }

    impl Widen for V4 {
        #[inline(always)]
        fn widen(self, bytes: &[i8]) -> Self::f32s {
            let mut all = [0; 16];
            all.copy_from_slice(&bytes[..16]);
            cast(self.avx512f._mm512_cvtepi32_ps(self.avx512f._mm512_cvtepi8_epi32(cast(all))))
        }
    }

    /// [`Instructions::add_rows`] with `VECTORS` vectors of sums in registers.
    #[inline(always)]
    fn add_rows<'a, S: Widen, const VECTORS: usize>(
        simd: S,
        rows: impl Iterator<Item = (f32, &'a [i8])> + Clone,
        sums: &mut [f32],
    ) {
        let width = VECTORS * S::F32_LANES;
        let whole = sums.len() / width * width;
        for from in (0..whole).step_by(width) {
            let (vectors, _) = S::as_mut_simd_f32s(&mut sums[from..from + width]);
            let mut held = [simd.splat_f32s(0.0); VECTORS];
            held.copy_from_slice(vectors);
            for (scale, row) in rows.clone() {
                let (scale, row) = (simd.splat_f32s(scale), &row[from..from + width]);
                for v in 0..VECTORS {
                    let term = simd.mul_f32s(scale, simd.widen(&row[v * S::F32_LANES..]));
                    held[v] = simd.add_f32s(held[v], term);
                }
            }
            vectors.copy_from_slice(&held);
        }
        if whole < sums.len() {
            Portable.add_rows(rows.map(|(scale, row)| (scale, &row[whole..])), &mut sums[whole..]);
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
        fn add_rows<'a>(self, rows: impl Iterator<Item = (f32, &'a [i8])> + Clone, sums: &mut [f32]) {
            // A cache line of a row at a time.
            add_rows::<_, 8>(self, rows, sums);
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
        fn add_rows<'a>(self, rows: impl Iterator<Item = (f32, &'a [i8])> + Clone, sums: &mut [f32]) {
            add_rows::<_, 16>(self, rows, sums);
        }
    }
}

#[cfg(test)]
mod tests;
