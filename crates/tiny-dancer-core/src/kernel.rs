//! Kernels: the same arithmetic, compiled for the vector instructions that the machine has.
//!
//! The code is written once, over the vectors of the `pulp` crate, which compiles it for each instruction set and chooses
//! at run time, safely. Left to find the vectors itself, the compiler made half as many, and others with each change.
//!
//! What holds a vector must be inlined into the function that `pulp` dispatches to. So there are no closures over
//! vectors: passed to a function of the standard library, one is compiled for the plainest machine, and called.
//!
//! One kernel gives the same bits each time, and `avx2` and `avx512` give the same as each other: what a sum is made of, and
//! in which order, does not depend on how long the vectors are. `scalar` multiplies and adds in two steps, rounds
//! differently and stays within 1e-5.

/// Which instructions the arithmetic uses. Chosen when a router is made.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(pulp::Arch);

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

    /// Does work with the vectors of this kernel. Everything in it must be `#[inline(always)]`.
    #[inline]
    pub(crate) fn dispatch<W: pulp::WithSimd>(self, work: W) -> W::Output {
        self.0.dispatch(work)
    }

    /// The same with vectors of 256 bits at most, where longer ones are no faster: their divisions take longer, and their
    /// comparisons are fewer at a time.
    #[inline]
    pub(crate) fn dispatch_short<W: pulp::WithSimd>(self, work: W) -> W::Output {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        if let pulp::Arch::V4(simd) = self.0 {
            return pulp::Simd::vectorize(*simd, work);
        }
        self.dispatch(work)
    }
}

/// Each lane's number, for vectors of up to sixteen.
#[inline(always)]
pub(crate) fn lanes<S: pulp::Simd>() -> S::u32s {
    const LANES: [u32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    S::as_simd_u32s(&LANES).0[0]
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
