//! Kernels: the instruction sets for which a search is compiled.
//!
//! `pulp` compiles a [`Work`] for an instruction set and calls it only where the processor has it. Products of floats are
//! rounded before they are added, in 32 partial sums of a fixed order, and everything else is in integers. So all
//! kernels give the same bits.

use pulp::NullaryFnOnce;
use std::hint::black_box;

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

/// The bytes of a cache line, which a vector of AVX-512 reads at once.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

/// The vectors of a block of codes.
pub(crate) const BLOCK: usize = 32;

/// The largest byte of a table, so that eight of them are added as bytes.
pub(crate) const LARGEST_STEP: u8 = 31;

/// The lines that are added as bytes.
const ADDED: usize = 8;

/// The vector of each byte's low bits. Even bytes come first since they are summed apart from the odd ones.
pub(crate) const VECTORS: [usize; 16] = [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15];

/// What an instruction set does.
pub(crate) trait Instructions: Copy {
    /// The sums of table entries for the vectors of a block. A group of four dimensions has 16 bytes of `codes` and 16 bytes
    /// of `table`, and a line has four groups. Byte `i` of its codes has the four bits of vector [`VECTORS[i]`](VECTORS)
    /// (low) and of the vector 16 places later (high), and each four bits choose one byte of its table, which is at most
    /// [`LARGEST_STEP`]. No sum exceeds `u16::MAX`.
    fn sums(self, codes: &[Line], table: &[Line]) -> [u16; BLOCK];

    /// The product of a vector of `i16` with one of `i8`. The caller's values are small enough that no sum overflows.
    fn product(self, a: &[[i16; 64]], b: &[Line]) -> i32;

    /// The greater of each two values, none of which is NaN.
    fn greater(self, a: &[f32; BLOCK], b: &[f32; BLOCK]) -> [f32; BLOCK];

    /// The values that are at least `floor`; bit `i` stands for value `i`.
    fn at_least(self, values: &[f32; BLOCK], floor: f32) -> u32;
}

/// Plain code, which the compiler vectorises where it can.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Instructions for Portable {
    #[inline(always)]
    fn sums(self, codes: &[Line], table: &[Line]) -> [u16; BLOCK] {
        let mut sums = [0; BLOCK];
        for (codes, table) in codes.iter().zip(table) {
            for (codes, table) in codes.0.as_chunks::<16>().0.iter().zip(table.0.as_chunks::<16>().0) {
                for (i, code) in VECTORS.into_iter().zip(codes) {
                    sums[i] += u16::from(table[usize::from(code & 15)]);
                    sums[i + 16] += u16::from(table[usize::from(code >> 4)]);
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn product(self, a: &[[i16; 64]], b: &[Line]) -> i32 {
        let pairs = a.as_flattened().iter().zip(b.iter().flat_map(|line| &line.0));
        pairs.map(|(&a, &b)| i32::from(a) * i32::from(b.cast_signed())).sum()
    }

    #[inline(always)]
    fn greater(self, a: &[f32; BLOCK], b: &[f32; BLOCK]) -> [f32; BLOCK] {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn at_least(self, values: &[f32; BLOCK], floor: f32) -> u32 {
        (0..BLOCK).fold(0, |bits, i| bits | u32::from(values[i] >= floor) << i)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{ADDED, BLOCK, Instructions, Line};
    use pulp::x86::{V3, V4};
    use pulp::{cast, f32x8, f32x16};

    impl Instructions for V3 {
        #[inline(always)]
        fn sums(self, codes: &[Line], table: &[Line]) -> [u16; BLOCK] {
            let simd = self.avx2;
            let (four_bits, low_bytes) = (cast([15_u8; 32]), cast([255_u16; 16]));
            let mut sums = [cast([0_u16; 16]); 4];
            // Half a line at a time has half as many bytes to a sum.
            for (codes, table) in codes.chunks(ADDED / 2).zip(table.chunks(ADDED / 2)) {
                let (mut low, mut high) = (cast([0_u8; 32]), cast([0_u8; 32]));
                for (codes, table) in codes.iter().zip(table) {
                    let (codes, tables): ([_; 2], [_; 2]) = (cast(codes.0), cast(table.0));
                    for (codes, table) in codes.into_iter().zip(tables) {
                        let chosen = simd._mm256_and_si256(codes, four_bits);
                        low = simd._mm256_add_epi8(low, simd._mm256_shuffle_epi8(table, chosen));
                        let chosen = simd._mm256_and_si256(simd._mm256_srli_epi16::<4>(codes), four_bits);
                        high = simd._mm256_add_epi8(high, simd._mm256_shuffle_epi8(table, chosen));
                    }
                }
                sums[0] = simd._mm256_add_epi16(sums[0], simd._mm256_and_si256(low, low_bytes));
                sums[1] = simd._mm256_add_epi16(sums[1], simd._mm256_srli_epi16::<8>(low));
                sums[2] = simd._mm256_add_epi16(sums[2], simd._mm256_and_si256(high, low_bytes));
                sums[3] = simd._mm256_add_epi16(sums[3], simd._mm256_srli_epi16::<8>(high));
            }
            let sums = sums.map(|sum| {
                let [one, other]: [_; 2] = cast(sum);
                self.sse2._mm_add_epi16(one, other)
            });
            cast(sums)
        }

        #[inline(always)]
        fn product(self, a: &[[i16; 64]], b: &[Line]) -> i32 {
            let simd = self.avx2;
            let mut sums = cast([0_i32; 8]);
            for (a, b) in a.iter().zip(b) {
                let (a, b): ([_; 4], [_; 4]) = (cast(*a), cast(b.0));
                for (a, b) in a.into_iter().zip(b) {
                    let products = simd._mm256_madd_epi16(a, simd._mm256_cvtepi8_epi16(b));
                    sums = simd._mm256_add_epi32(sums, products);
                }
            }
            let sums: [i32; 8] = cast(sums);
            sums.iter().sum()
        }

        #[inline(always)]
        fn greater(self, a: &[f32; BLOCK], b: &[f32; BLOCK]) -> [f32; BLOCK] {
            let (a, b): ([f32x8; 4], [f32x8; 4]) = (cast(*a), cast(*b));
            cast([0, 1, 2, 3].map(|i| self.max_f32x8(a[i], b[i])))
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
        fn sums(self, codes: &[Line], table: &[Line]) -> [u16; BLOCK] {
            let (bytes, words) = (self.avx512bw, self.avx512f);
            let (four_bits, low_bytes) = (cast([15_u8; 64]), cast([255_u16; 32]));
            let mut sums = [cast([0_u16; 32]); 4];
            for (codes, table) in codes.chunks(ADDED).zip(table.chunks(ADDED)) {
                let (mut low, mut high) = (cast([0_u8; 64]), cast([0_u8; 64]));
                for (codes, table) in codes.iter().zip(table) {
                    let (codes, table) = (cast(codes.0), cast(table.0));
                    let chosen = words._mm512_and_si512(codes, four_bits);
                    low = bytes._mm512_add_epi8(low, bytes._mm512_shuffle_epi8(table, chosen));
                    let chosen = words._mm512_and_si512(bytes._mm512_srli_epi16::<4>(codes), four_bits);
                    high = bytes._mm512_add_epi8(high, bytes._mm512_shuffle_epi8(table, chosen));
                }
                sums[0] = bytes._mm512_add_epi16(sums[0], words._mm512_and_si512(low, low_bytes));
                sums[1] = bytes._mm512_add_epi16(sums[1], bytes._mm512_srli_epi16::<8>(low));
                sums[2] = bytes._mm512_add_epi16(sums[2], words._mm512_and_si512(high, low_bytes));
                sums[3] = bytes._mm512_add_epi16(sums[3], bytes._mm512_srli_epi16::<8>(high));
            }
            let sums = sums.map(|sum| {
                let [a, b, c, d]: [_; 4] = cast(sum);
                let add = |a, b| self.sse2._mm_add_epi16(a, b);
                add(add(a, b), add(c, d))
            });
            cast(sums)
        }

        #[inline(always)]
        fn product(self, a: &[[i16; 64]], b: &[Line]) -> i32 {
            let (bytes, words) = (self.avx512bw, self.avx512f);
            let mut sums = cast([0_i32; 16]);
            for (a, b) in a.iter().zip(b) {
                let (a, b): ([_; 2], [_; 2]) = (cast(*a), cast(b.0));
                for (a, b) in a.into_iter().zip(b) {
                    let products = bytes._mm512_madd_epi16(a, bytes._mm512_cvtepi8_epi16(b));
                    sums = words._mm512_add_epi32(sums, products);
                }
            }
            words._mm512_reduce_add_epi32(sums)
        }

        #[inline(always)]
        fn greater(self, a: &[f32; BLOCK], b: &[f32; BLOCK]) -> [f32; BLOCK] {
            let (a, b): ([f32x16; 2], [f32x16; 2]) = (cast(*a), cast(*b));
            cast([0, 1].map(|i| self.max_f32x16(a[i], b[i])))
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

/// The partial sums of a product: a vector of any length has its own lanes.
const SUMS: usize = 16;

/// The product of two vectors of one length: rounded products, in two times sixteen partial sums, so that the additions of
/// one do not wait for those of the other.
#[inline(always)]
pub(crate) fn product(a: &[f32], b: &[f32]) -> f32 {
    let (mut even, mut odd) = ([0.0_f32; SUMS], [0.0_f32; SUMS]);
    let (pairs, rest) = a.as_chunks::<{ 2 * SUMS }>();
    let (other_pairs, other_rest) = b.as_chunks::<{ 2 * SUMS }>();
    for (a, b) in pairs.iter().zip(other_pairs) {
        even = std::array::from_fn(|i| even[i] + a[i] * b[i]);
        odd = std::array::from_fn(|i| odd[i] + a[i + SUMS] * b[i + SUMS]);
    }
    for (at, (a, b)) in rest.iter().zip(other_rest).enumerate() {
        even[at % SUMS] += a * b;
    }
    // Without it LLVM keeps the sums in vectors of two, as the last additions need them.
    let (even, odd) = black_box((even, odd));
    let sums: [f32; SUMS] = std::array::from_fn(|i| even[i] + odd[i]);
    let sums: [f32; 8] = std::array::from_fn(|i| sums[i] + sums[i + 8]);
    let sums: [f32; 4] = std::array::from_fn(|i| sums[i] + sums[i + 4]);
    let sums: [f32; 2] = std::array::from_fn(|i| sums[i] + sums[i + 2]);
    sums[0] + sums[1]
}

#[cfg(test)]
mod tests;
