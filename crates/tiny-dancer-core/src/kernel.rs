//! Kernels: the same arithmetic, compiled for the vector instructions that the machine has.
//!
//! The code is written once, over the vectors of the `pulp` crate, which compiles it for each instruction set and chooses
//! one at run time, safely. Automatic vectorisation found half as many vectors, and different ones after each change.
//!
//! A function that holds a vector must be inlined into the function that `pulp` dispatches to. So there are no closures
//! over vectors: the standard library would call such a closure, compiled for the scalar instruction set.
//!
//! One kernel gives the same bits each time, and `avx2` and `avx512` give the same bits as each other: the terms of a sum
//! and their order do not depend on the length of the vectors. `scalar` multiplies and adds in two steps, so it rounds
//! differently and stays within 1e-5.

/// The instruction set that the arithmetic uses. It is chosen when a router is made.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(pulp::Arch);

impl Kernel {
    /// The fastest kernel that this machine can run.
    pub fn detect() -> Self {
        Self(pulp::Arch::new())
    }

    /// All kernels that this machine can run, slowest first.
    pub fn available() -> Vec<Self> {
        let scalar = Self(pulp::Arch::Scalar);
        let mut kernels = vec![scalar];
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

    /// Runs work with the vectors of this kernel. All functions that it calls must be `#[inline(always)]`.
    #[inline]
    pub(crate) fn dispatch<W: pulp::WithSimd>(self, work: W) -> W::Output {
        self.0.dispatch(work)
    }

    /// The same with vectors of 256 bits at most, for work in which longer vectors are no faster: their divisions take
    /// longer, and fewer of their comparisons run at a time.
    #[inline]
    pub(crate) fn dispatch_short<W: pulp::WithSimd>(self, work: W) -> W::Output {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        if let pulp::Arch::V4(simd) = self.0 {
            return pulp::Simd::vectorize(*simd, work);
        }
        self.dispatch(work)
    }
}

/// Each lane's index, for vectors of at most sixteen lanes.
#[inline(always)]
pub(crate) fn lanes<S: pulp::Simd>() -> S::u32s {
    const LANES: [u32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    S::as_simd_u32s(&LANES).0[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_has_the_scalar_kernel_and_names_differ() {
        let names: Vec<_> = Kernel::available().into_iter().map(Kernel::name).collect();
        assert_eq!(names[0], "scalar");
        assert_eq!(names.last(), Some(&Kernel::detect().name()));
        let mut distinct = names.clone();
        distinct.dedup();
        assert_eq!(distinct, names);
    }
}
