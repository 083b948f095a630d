//! API enums: the domain's enums with names and descriptions for the document.

/// Declares an enum of the API with the same variants as an enum of the domain, and both conversions. A variant that
/// only one of the two has does not compile.
macro_rules! api_enum {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident = $domain:ty {
            $($(#[$variant_attribute:meta])* $variant:ident),* $(,)?
        }
    ) => {
        #[derive(poem_openapi::Enum, Clone, Copy)]
        $(#[$attribute])*
        $visibility enum $name {
            $($(#[$variant_attribute])* $variant),*
        }

        impl From<$domain> for $name {
            fn from(value: $domain) -> Self {
                match value {
                    $(<$domain>::$variant => Self::$variant),*
                }
            }
        }

        impl From<$name> for $domain {
            fn from(value: $name) -> Self {
                match value {
                    $($name::$variant => Self::$variant),*
                }
            }
        }
    };
}

pub(super) use api_enum;
