//! Enums whose cases are words: stored in a column, sent in JSON, part of a topic.
//!
//! [`words!`](crate::words) writes both directions from one list. A case that is not on the list does not compile, and
//! a word that is not on it is an [`UnknownWord`], never some other case.

/// A word that is none of those it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {expected}")]
pub struct UnknownWord {
    /// Those it should be, separated by commas.
    pub expected: &'static str,
}

/// Gives an enum `ALL`, `as_str`, `Display` and `FromStr`, from one list of its cases and their words. An unknown word is an
/// [`UnknownWord`], or, after `or`, a unit struct that says more.
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

            /// The word that stands for it.
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
