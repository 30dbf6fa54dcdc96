//! Kernels: the same arithmetic, compiled for the vector instructions that the machine has.
//!
//! The code is written once, over arrays of lanes, without a branch in an inner loop. The `pulp` crate compiles it for
//! each instruction set and chooses at run time, safely; the compiler turns arrays into vectors. Only the fused
//! multiply-add must be asked for by hand, since where the machine has none it would be a call.
//!
//! One kernel gives the same bits each time. Another one rounds differently and stays within 1e-5.

/// Which instructions the arithmetic uses. Chosen when a router is made.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(pulp::Arch);

/// Numbers that a block of vector code works on: one vector of AVX-512, two of AVX2, four of NEON.
pub(crate) const LANES: usize = 16;

/// Arithmetic that is compiled for each instruction set. Everything in `run` must be `#[inline(always)]`.
pub(crate) trait Work {
    /// What it computes.
    type Output;

    /// Does it, with fused multiply-adds or without.
    fn run<const FUSED: bool>(self) -> Self::Output;
}

struct Dispatched<W>(W);

impl<W: Work> pulp::WithSimd for Dispatched<W> {
    type Output = W::Output;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> W::Output {
        // Each instruction set that pulp has vectors for can fuse, too.
        if S::F32_LANES > 1 { self.0.run::<true>() } else { self.0.run::<false>() }
    }
}

impl Kernel {
    /// The best that this machine can run.
    pub fn detect() -> Self {
        Self(pulp::Arch::new())
    }

    /// All that this machine can run, from the plainest on.
    pub fn available() -> Vec<Self> {
        let plain = Self(pulp::Arch::Scalar);
        let mut kernels = vec![plain];
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        kernels.extend(pulp::x86::V3::try_new().map(|simd| Self(pulp::Arch::V3(simd))));
        let best = Self::detect();
        if kernels.iter().all(|kernel| kernel.name() != best.name()) {
            kernels.push(best);
        }
        kernels
    }

    /// Its name in attributes and records.
    pub fn name(self) -> &'static str {
        match self.0 {
            pulp::Arch::Scalar => "scalar",
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            pulp::Arch::V3(_) => "avx2",
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            pulp::Arch::V4(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            pulp::Arch::Neon(_) => "neon",
            _ => "other",
        }
    }

    #[inline]
    pub(crate) fn run<W: Work>(self, work: W) -> W::Output {
        self.dispatch(Dispatched(work))
    }

    /// For the rare loop that the compiler has to be shown its vectors for.
    #[inline]
    pub(crate) fn dispatch<W: pulp::WithSimd>(self, work: W) -> W::Output {
        self.0.dispatch(work)
    }
}

/// `a b + c`.
#[inline(always)]
pub(crate) fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_has_the_plain_kernel_and_names_differ() {
        let names: Vec<_> = Kernel::available().into_iter().map(Kernel::name).collect();
        assert_eq!(names[0], "scalar");
        assert_eq!(names.last(), Some(&Kernel::detect().name()));
        let mut distinct = names.clone();
        distinct.dedup();
        assert_eq!(distinct, names);
    }
}
