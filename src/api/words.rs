//! Closed sets of words on the wire, one macro for all: the word is the variant's name, in serde, schema and messages.

/// Declares an enum whose variants stand on the wire by their names, with `ALL`, `as_str`, `parse` and `Display`.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }

        impl $name {
            /// Every word, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }

            /// The variant of that word; matching is exact, as in Argo CD.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(super) use words;

#[cfg(test)]
mod tests {
    use super::super::{DeletionPolicy, Phase};

    #[test]
    fn a_word_is_the_same_in_serde_in_text_and_back() {
        for phase in Phase::ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.as_str());
            assert_eq!(Phase::parse(&phase.to_string()), Some(*phase));
        }
        assert_eq!(Phase::parse("presync"), None, "words match exactly");
        assert_eq!(DeletionPolicy::parse("Keep"), None);
        assert_eq!(format!("{:<10}|", Phase::PreSync), "PreSync   |", "words can be padded in tables");
    }
}
