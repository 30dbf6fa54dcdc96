use super::*;

/// Numbers that are the same on every machine.
fn drawn(n: usize) -> impl Iterator<Item = u32> {
    let mut state = 1_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    })
    .take(n)
}

struct Sums<'a>(&'a [Line], &'a [Line]);

impl Work for Sums<'_> {
    type Output = [u16; BLOCK];

    #[inline(always)]
    fn run<I: Instructions>(self, instructions: I) -> [u16; BLOCK] {
        instructions.sums(self.0, self.1)
    }
}

fn lines(bytes: &[u8]) -> Vec<Line> {
    bytes.as_chunks::<64>().0.iter().map(|bytes| Line(*bytes)).collect()
}

#[test]
fn all_kernels_give_the_same_sums_up_to_the_largest() {
    for groups in [4, 28, 64, 100, 2000] {
        let codes: Vec<u8> = drawn(16 * groups).map(|x| x as u8).collect();
        let table = drawn(16 * groups).map(|x| x as u8 % (LARGEST_STEP + 1)).collect();
        for table in [table, vec![LARGEST_STEP; 16 * groups]] {
            let expected: [u16; BLOCK] = std::array::from_fn(|i| {
                let byte = VECTORS.iter().position(|&vector| vector == i % 16).unwrap();
                let bits = |group: usize| codes[16 * group + byte] >> (i / 16 * 4) & 15;
                (0..groups).map(|group| u16::from(table[16 * group + usize::from(bits(group))])).sum()
            });
            for kernel in Kernel::available() {
                let sums = kernel.dispatch(Sums(&lines(&codes), &lines(&table)));
                assert_eq!(sums, expected, "{kernel:?}");
            }
        }
    }
}

struct AtLeast<'a>(&'a [f32; BLOCK], f32);

impl Work for AtLeast<'_> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Instructions>(self, instructions: I) -> u32 {
        instructions.at_least(self.0, self.1)
    }
}

#[test]
fn a_bit_says_that_its_value_reaches_the_floor() {
    let values: [f32; BLOCK] = std::array::from_fn(|i| (i * 7 % 32) as f32);
    for kernel in Kernel::available() {
        for floor in [f32::NEG_INFINITY, 0.0, 13.0, 13.5, 31.0, 32.0] {
            let expected = (0..BLOCK).filter(|&i| values[i] >= floor).map(|i| 1 << i).sum::<u32>();
            assert_eq!(kernel.dispatch(AtLeast(&values, floor)), expected, "{kernel:?}, {floor}");
        }
    }
}

struct Greater<'a>(&'a [f32; BLOCK], &'a [f32; BLOCK]);

impl Work for Greater<'_> {
    type Output = [f32; BLOCK];

    #[inline(always)]
    fn run<I: Instructions>(self, instructions: I) -> [f32; BLOCK] {
        instructions.greater(self.0, self.1)
    }
}

#[test]
fn of_each_two_values_the_greater_one_is_taken() {
    let a: [f32; BLOCK] = std::array::from_fn(|i| (i * 7 % 32) as f32);
    let b = std::array::from_fn(|i| if i % 5 == 0 { f32::NEG_INFINITY } else { (i * 11 % 32) as f32 });
    let expected: [f32; BLOCK] = std::array::from_fn(|i| a[i].max(b[i]));
    for kernel in Kernel::available() {
        assert_eq!(kernel.dispatch(Greater(&a, &b)), expected, "{kernel:?}");
    }
}

struct Products<'a>(&'a [f32], &'a [f32]);

impl Work for Products<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<I: Instructions>(self, _: I) -> f32 {
        product(self.0, self.1)
    }
}

#[test]
fn all_kernels_give_the_same_product() {
    let values: Vec<f32> = drawn(600).map(|x| x as f32 / (1 << 30) as f32 - 1.0).collect();
    for n in [1, 2, 15, 16, 17, 100, 256, 300] {
        let (a, b) = (&values[..n], &values[300..300 + n]);
        let exact: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let first = product(a, b);
        assert!((f64::from(first) - exact).abs() < 1e-4);
        for kernel in Kernel::available() {
            assert_eq!(kernel.dispatch(Products(a, b)).to_bits(), first.to_bits(), "{kernel:?}, {n}");
        }
    }
}
