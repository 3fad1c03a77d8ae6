//! Small sets of choices that people and programs write as words.

/// A word that names no member of a set, with the words that do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} '{word}': use one of {accepted}")]
pub struct UnknownWord {
    /// What the set is of.
    pub what: &'static str,
    /// The word.
    pub word: String,
    /// The set's words: `auto, host, sim, npu`.
    pub accepted: String,
}

/// Defines an enum whose variants have words: `words!(/// … Device, "device", { /// … Host = "host", … });`
///
/// It has `ALL`, in order, `word`, `Display` and `FromStr`, whose error is [`UnknownWord`].
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$vdoc:meta])* $variant:ident = $word:expr),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// All of them.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word that people write for it.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::words::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                Self::ALL.into_iter().find(|member| member.word() == word).ok_or_else(|| $crate::words::UnknownWord {
                    what: $what,
                    word: word.to_owned(),
                    accepted: Self::ALL.map(Self::word).join(", "),
                })
            }
        }
    };
}
