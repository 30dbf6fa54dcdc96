//! Kernels: the instruction sets for which a search is compiled.
//!
//! `pulp` compiles a [`Work`] for an instruction set and calls it only where the processor has it. Products of floats are
//! rounded before they are added, in sixteen partial sums of a fixed order, and everything else is in integers. So all
//! kernels give the same bits.

use pulp::NullaryFnOnce;

/// An instruction set of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel(Set);

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
    pub(crate) fn detect() -> Self {
        *Self::available().last().unwrap_or(&Self(Set::Portable))
    }

    /// All that this machine runs, slowest first.
    pub(crate) fn available() -> Vec<Self> {
        let mut kernels = vec![Self(Set::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            kernels.extend(pulp::x86::V3::try_new().map(|simd| Self(Set::Avx2(simd))));
            kernels.extend(pulp::x86::V4::try_new().map(|simd| Self(Set::Avx512(simd))));
        }
        kernels
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

/// The vectors of a block of codes.
pub(crate) const BLOCK: usize = 32;

/// The vector of each byte's low bits. Even bytes come first since they are summed apart from the odd ones.
pub(crate) const VECTORS: [usize; 16] = [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15];

/// What an instruction set does.
pub(crate) trait Instructions: Copy {
    /// The sums of table entries for the vectors of a block. A group of four dimensions has 16 bytes of `codes` and 16 bytes
    /// of `table`. Byte `i` of its codes has the four bits of vector [`VECTORS[i]`](VECTORS) (low) and of the vector 16
    /// places later (high), and each four bits choose one byte of its table. The number of groups is a multiple of 4, and no
    /// sum exceeds `u16::MAX`.
    fn sums(self, codes: &[u8], table: &[u8]) -> [u16; BLOCK];

    /// The values that are at least `floor`; bit `i` stands for value `i`.
    fn at_least(self, values: &[f32; BLOCK], floor: f32) -> u32;
}

/// Plain code, which the compiler vectorises where it can.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Instructions for Portable {
    #[inline(always)]
    fn sums(self, codes: &[u8], table: &[u8]) -> [u16; BLOCK] {
        let mut sums = [0; BLOCK];
        for (codes, table) in codes.as_chunks::<16>().0.iter().zip(table.as_chunks::<16>().0) {
            for (i, code) in VECTORS.into_iter().zip(codes) {
                sums[i] += u16::from(table[usize::from(code & 15)]);
                sums[i + 16] += u16::from(table[usize::from(code >> 4)]);
            }
        }
        sums
    }

    #[inline(always)]
    fn at_least(self, values: &[f32; BLOCK], floor: f32) -> u32 {
        (0..BLOCK).fold(0, |bits, i| bits | u32::from(values[i] >= floor) << i)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{BLOCK, Instructions};
    use pulp::x86::{V3, V4};
    use pulp::{cast, f32x8, f32x16};

    /// The sums of even and of odd bytes, from 16-bit sums of whole pairs and of their high bytes.
    ///
    /// A shuffle gives bytes, and a pair of bytes is one 16-bit number. The whole pairs are added without regard to the carry
    /// of their low bytes; taking off the sum of the high bytes leaves the sum of the low bytes, modulo 2^16.
    #[inline(always)]
    fn halves(pairs: [u16; 8], high: [u16; 8], sums: &mut [u16]) {
        for i in 0..8 {
            sums[i] = sums[i].wrapping_add(pairs[i].wrapping_sub(high[i] << 8));
            sums[8 + i] = sums[8 + i].wrapping_add(high[i]);
        }
    }

    impl Instructions for V3 {
        #[inline(always)]
        fn sums(self, codes: &[u8], table: &[u8]) -> [u16; BLOCK] {
            let simd = self.avx2;
            let four_bits = cast([15_u8; 32]);
            let mut sums = [cast([0_u16; 16]); 4];
            for (codes, table) in codes.as_chunks::<32>().0.iter().zip(table.as_chunks::<32>().0) {
                let (codes, table) = (cast(*codes), cast(*table));
                let low = simd._mm256_shuffle_epi8(table, simd._mm256_and_si256(codes, four_bits));
                let codes = simd._mm256_and_si256(simd._mm256_srli_epi16::<4>(codes), four_bits);
                let high = simd._mm256_shuffle_epi8(table, codes);
                sums[0] = simd._mm256_add_epi16(sums[0], low);
                sums[1] = simd._mm256_add_epi16(sums[1], simd._mm256_srli_epi16::<8>(low));
                sums[2] = simd._mm256_add_epi16(sums[2], high);
                sums[3] = simd._mm256_add_epi16(sums[3], simd._mm256_srli_epi16::<8>(high));
            }
            let sums: [[[u16; 8]; 2]; 4] = cast(sums);
            let mut total = [0; BLOCK];
            for group in 0..2 {
                halves(sums[0][group], sums[1][group], &mut total[..16]);
                halves(sums[2][group], sums[3][group], &mut total[16..]);
            }
            total
        }

        #[inline(always)]
        fn at_least(self, values: &[f32; BLOCK], floor: f32) -> u32 {
            let eights: [f32x8; 4] = cast(*values);
            let floor = self.splat_f32x8(floor);
            let mut bits = 0;
            for i in 0..4 {
                let mask = self.cmp_ge_f32x8(eights[i], floor);
                bits |= (self.avx._mm256_movemask_ps(cast(mask)) as u32) << (8 * i);
            }
            bits
        }
    }

    impl Instructions for V4 {
        #[inline(always)]
        fn sums(self, codes: &[u8], table: &[u8]) -> [u16; BLOCK] {
            let simd = self.avx512bw;
            let four_bits = cast([15_u8; 64]);
            let mut sums = [cast([0_u16; 32]); 4];
            for (codes, table) in codes.as_chunks::<64>().0.iter().zip(table.as_chunks::<64>().0) {
                let (codes, table) = (cast(*codes), cast(*table));
                let low = simd._mm512_shuffle_epi8(table, self.avx512f._mm512_and_si512(codes, four_bits));
                let codes = self.avx512f._mm512_and_si512(simd._mm512_srli_epi16::<4>(codes), four_bits);
                let high = simd._mm512_shuffle_epi8(table, codes);
                sums[0] = simd._mm512_add_epi16(sums[0], low);
                sums[1] = simd._mm512_add_epi16(sums[1], simd._mm512_srli_epi16::<8>(low));
                sums[2] = simd._mm512_add_epi16(sums[2], high);
                sums[3] = simd._mm512_add_epi16(sums[3], simd._mm512_srli_epi16::<8>(high));
            }
            let sums: [[[u16; 8]; 4]; 4] = cast(sums);
            let mut total = [0; BLOCK];
            for group in 0..4 {
                halves(sums[0][group], sums[1][group], &mut total[..16]);
                halves(sums[2][group], sums[3][group], &mut total[16..]);
            }
            total
        }

        #[inline(always)]
        fn at_least(self, values: &[f32; BLOCK], floor: f32) -> u32 {
            let sixteens: [f32x16; 2] = cast(*values);
            let floor = self.splat_f32x16(floor);
            let [low, high] = sixteens.map(|values| self.cmp_ge_f32x16(values, floor).0);
            u32::from(low) | u32::from(high) << 16
        }
    }
}

/// The partial sums of a product, so that a vector of any length has its own lanes.
const SUMS: usize = 16;

/// The product of two vectors of one length: rounded products, in sixteen partial sums.
#[inline(always)]
pub(crate) fn product(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; SUMS];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<SUMS>(), b.as_chunks::<SUMS>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..SUMS {
            sums[i] += a[i] * b[i];
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += a * b;
    }
    let mut half = SUMS / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0]
}

/// The product of a vector of `i16` with one of `i8`. The caller's values are small enough that no sum overflows.
#[inline(always)]
pub(crate) fn integer_product(a: &[i16], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

#[cfg(test)]
mod tests;
