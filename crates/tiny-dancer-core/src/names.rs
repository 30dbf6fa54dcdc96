//! Names: the closed vocabulary of an enum, written once.

use std::fmt;

/// A name that an enum does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownName {
    /// The kind of name, such as `reason`.
    pub what: &'static str,
    /// The unknown name.
    pub name: String,
    /// The names that exist.
    pub expected: &'static [&'static str],
}

impl UnknownName {
    /// For the macro.
    #[doc(hidden)]
    pub fn new(what: &'static str, name: &str, expected: &'static [&'static str]) -> Self {
        Self { what, name: name.to_owned(), expected }
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, name, expected } = self;
        write!(f, "unknown {what} {name:?}, expected {}", expected.join(", "))
    }
}

impl std::error::Error for UnknownName {}

/// Implements `ALL`, `name`, `Display` and `FromStr` of an enum from one list. A list without a variant does not compile.
///
/// Exported for the other crates of this workspace; it is not part of the public interface.
#[doc(hidden)]
#[macro_export]
macro_rules! names {
    ($type:ident, $what:literal, { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order of the labels.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name in labels, attributes, logs and files; [`FromStr`](std::str::FromStr) reads it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownName::new($what, name, &[$($name),+])),
                }
            }
        }
    };
}

pub(crate) use names;
