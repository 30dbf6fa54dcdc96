use super::*;

struct ClassesOf([u8; 64]);

impl Work for ClassesOf {
    type Output = Classes;

    fn run<I: Instructions>(self, instructions: I) -> Classes {
        instructions.classes(&self.0)
    }
}

#[test]
fn every_byte_has_its_class_at_every_place() {
    for kernel in Kernel::available() {
        for byte in 0..=u8::MAX {
            for place in 0..64 {
                let mut bytes = [b' '; 64];
                bytes[place] = byte;
                let bit = |is: bool| u64::from(is) << place;
                let expected = Classes {
                    word: bit(byte.is_ascii_alphanumeric()),
                    punctuation: bit(byte.is_ascii_punctuation()),
                    other: bit(!byte.is_ascii_graphic() && !b" \t\r\n".contains(&byte)),
                };
                assert_eq!(kernel.dispatch(ClassesOf(bytes)), expected, "{}: {byte}", kernel.name());
            }
        }
    }
}

#[test]
fn every_machine_has_the_portable_kernel_and_names_differ() {
    let names: Vec<_> = Kernel::available().into_iter().map(Kernel::name).collect();
    assert_eq!(names[0], "portable");
    assert_eq!(names.last(), Some(&Kernel::detect().name()));
    let mut distinct = names.clone();
    distinct.dedup();
    assert_eq!(distinct, names);
}
