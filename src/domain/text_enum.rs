//! text_enum: declares enums whose variants have a text in the API and in the database.

/// Declares an enum with `ALL`, `as_str` and `parse`. A variant without a text does not compile, and none can be missing
/// from `ALL`.
macro_rules! text_enum {
    ($(#[$attribute:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// Every variant, in the order of their declaration.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// The variant's text.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Returns the variant with this text.
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use text_enum;

#[cfg(test)]
mod tests {
    text_enum! {
        /// For the test.
        pub enum Size {
            Small = "small",
            Large = "large",
        }
    }

    #[test]
    fn parse_inverts_as_str() {
        assert_eq!(Size::ALL.map(|size| Size::parse(size.as_str())), [Some(Size::Small), Some(Size::Large)]);
        assert_eq!(Size::parse("Large"), None);
    }
}
