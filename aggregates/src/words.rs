//! Enums whose cases are stored, sent and parsed as words: in columns, in JSON and in topics.
//!
//! [`words!`](crate::words!) generates both directions from one list. A case that is not on the list does not compile,
//! and a word that is not on it is an [`UnknownWord`], never some other case.

/// A word that stands for none of the enum's cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {expected}")]
pub struct UnknownWord {
    /// The expected words, separated by commas.
    pub expected: &'static str,
}

/// Implements `ALL`, `as_str`, `Display` and `FromStr` for an enum, from one list of its cases and their words.
/// Parsing an unknown word fails with [`UnknownWord`] or, after `or`, with the unit struct named there.
#[macro_export]
macro_rules! words {
    ($name:ident { $first:ident = $first_word:literal $(, $case:ident = $word:literal)* $(,)? }) => {
        $crate::words! {
            @ $name, $crate::words::UnknownWord,
            $crate::words::UnknownWord { expected: concat!($first_word $(, ", ", $word)*) };
            $first = $first_word $(, $case = $word)*
        }
    };
    ($name:ident or $unknown:ident { $($case:ident = $word:literal),+ $(,)? }) => {
        $crate::words! { @ $name, $unknown, $unknown; $($case = $word),+ }
    };
    (@ $name:ident, $unknown:ty, $error:expr; $($case:ident = $word:literal),+) => {
        impl $name {
            /// Every case, in the order of its declaration.
            pub const ALL: [Self; [$(Self::$case),+].len()] = [$(Self::$case),+];

            /// The word that stands for this case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$case => $word,)+
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $unknown;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$case),)+
                    _ => Err($error),
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::UnknownWord;
    use crate::device::Via;

    #[test]
    fn every_case_comes_back_from_its_word_and_no_other_word_does() {
        for via in Via::ALL {
            assert_eq!(via.as_str().parse(), Ok(via));
        }
        for unknown in ["", "mail", "Api", "api "] {
            assert_eq!(unknown.parse::<Via>(), Err(UnknownWord { expected: "telemetry, api" }));
        }
    }
}
