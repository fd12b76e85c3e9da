//! The macros that turn a table of fields into a structure, its decoder and its encoder.
//!
//! What it is        `structs!` reads like the schema tables of the protocol: field, type,
//!                   versions, versions in which null is allowed, tag, default. `api!` names one
//!                   API with its ranges of versions.
//! What it is not    a place for rules: values are checked by who uses them.
//! Invariants        1. a field outside its versions is not on the wire and decodes as its
//!                   default; 2. tagged fields with their default value are not written;
//!                   3. null outside its versions is an error in both directions.
//! Source            Apache Kafka 4.1, message schemas; KIP-482.

/// Defines message structures from tables of fields.
///
/// ```text
/// struct Name<'a> {
///     field: Type, versions [, null versions] [, tag number] [, default value];
/// }
/// ```
macro_rules! structs {
    () => {};
    ($(#[$meta:meta])* struct $name:ident<$lt:lifetime> { $($fields:tt)* } $($rest:tt)*) => {
        structs! { @define [$(#[$meta])*] [$name<$lt>] $name $lt { $($fields)* } }
        structs! { $($rest)* }
    };
    ($(#[$meta:meta])* struct $name:ident { $($fields:tt)* } $($rest:tt)*) => {
        structs! { @define [$(#[$meta])*] [$name] $name 'wire { $($fields)* } }
        structs! { $($rest)* }
    };
    (@define [$($meta:tt)*] [$($type:tt)+] $name:ident $lt:lifetime { $(
        $(#[$field_meta:meta])*
        $field:ident: $field_type:ty, $versions:expr
            $(, null $null:expr)? $(, tag $tag:literal)? $(, default $default:expr)?;
    )* }) => {
        $($meta)*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $($type)+ {
            $(
                $(#[$field_meta])*
                #[doc = ""]
                #[doc = concat!("Versions `", stringify!($versions), "`"
                    $(, "; null in `", stringify!($null), "`")?
                    $(, "; tag ", $tag)? $(, "; default `", stringify!($default), "`")?, ".")]
                pub $field: $field_type,
            )*
        }

        structs! { @default [$($type)+] $lt { $($field: $field_type [$($default)?])* } }

        impl<$lt> $crate::primitive::Wire<$lt> for $($type)+ {
            fn decode(
                decoder: &mut $crate::primitive::Decoder<$lt>,
            ) -> Result<Self, $crate::error::DecodeError> {
                let version = decoder.version();
                let mut message = Self::default();
                $(structs! { @decode message decoder version $field ($versions)
                    [$($null)?] [$($tag)?] })*
                if decoder.is_flexible() {
                    for _ in 0..decoder.tagged_field_count()? {
                        let (tag, size) = decoder.tagged_field()?;
                        $($(if tag == $tag && ($versions).contains(&version) {
                            message.$field = decoder
                                .tagged_value(size)
                                .map_err(|error| error.within(stringify!($field)))?;
                            continue;
                        })?)*
                        let _ = (tag, decoder.take(size)?);
                    }
                }
                Ok(message)
            }

            fn encode(
                &self,
                encoder: &mut $crate::primitive::Encoder,
            ) -> Result<(), $crate::error::EncodeError> {
                let version = encoder.version();
                $(structs! { @encode self encoder version $field ($versions)
                    [$($null)?] [$($tag)?] })*
                if encoder.is_flexible() {
                    let written: &[(u32, bool)] = &[$($((
                        $tag,
                        ($versions).contains(&version) && self.$field != Self::default().$field,
                    ),)?)*];
                    let count = written.iter().map(|&(_, is_written)| u32::from(is_written)).sum();
                    encoder.put_unsigned_varint(count);
                    $($(if written.contains(&($tag, true)) {
                        encoder
                            .put_tagged_field($tag, &self.$field)
                            .map_err(|error| error.within(stringify!($field)))?;
                    })?)*
                }
                let _ = version;
                Ok(())
            }

            fn bytes_min(version: i16, flexible: bool) -> usize {
                let mut bytes = usize::from(flexible);
                $(structs! { @bytes_min bytes version flexible $field_type, ($versions)
                    [$($tag)?] })*
                let _ = version;
                bytes
            }
        }

        #[cfg(test)]
        impl<$lt> $crate::primitive::sample::Sample for $($type)+ {
            fn sample(generator: &mut $crate::primitive::sample::Generator) -> Self {
                let version = generator.version;
                let mut message = Self::default();
                $(if ($versions).contains(&version) {
                    message.$field = $crate::primitive::sample::Sample::sample(generator);
                    $(while !($null).contains(&version) && message.$field.is_none() {
                        message.$field = $crate::primitive::sample::Sample::sample(generator);
                    })?
                })*
                let _ = version;
                message
            }
        }
    };

    (@default [$($type:tt)+] $lt:lifetime { $($field:ident: $ty:ty [$($default:expr)?])* }) => {
        impl<$lt> Default for $($type)+ {
            fn default() -> Self {
                Self { $($field: structs!(@value $($default)?),)* }
            }
        }
    };
    (@value $default:expr) => { $default };
    (@value) => { Default::default() };

    (@decode $message:ident $decoder:ident $version:ident $field:ident ($versions:expr)
        [] []) => {
        if ($versions).contains(&$version) {
            $message.$field = $crate::primitive::Wire::decode($decoder)
                .map_err(|error| error.within(stringify!($field)))?;
        }
    };
    (@decode $message:ident $decoder:ident $version:ident $field:ident ($versions:expr)
        [$null:expr] []) => {
        structs! { @decode $message $decoder $version $field ($versions) [] [] }
        if $message.$field.is_none()
            && ($versions).contains(&$version)
            && !($null).contains(&$version)
        {
            let error = $decoder.error("a value that is not null", -1);
            return Err(error.within(stringify!($field)));
        }
    };
    (@decode $message:ident $decoder:ident $version:ident $field:ident ($versions:expr)
        [$($null:expr)?] [$tag:literal]) => {};

    (@encode $self:ident $encoder:ident $version:ident $field:ident ($versions:expr)
        [] []) => {
        if ($versions).contains(&$version) {
            $crate::primitive::Wire::encode(&$self.$field, $encoder)
                .map_err(|error| error.within(stringify!($field)))?;
        }
    };
    (@encode $self:ident $encoder:ident $version:ident $field:ident ($versions:expr)
        [$null:expr] []) => {
        if $self.$field.is_none()
            && ($versions).contains(&$version)
            && !($null).contains(&$version)
        {
            let error = $crate::error::EncodeError::new("null is not allowed in this version");
            return Err(error.within(stringify!($field)));
        }
        structs! { @encode $self $encoder $version $field ($versions) [] [] }
    };
    (@encode $self:ident $encoder:ident $version:ident $field:ident ($versions:expr)
        [$($null:expr)?] [$tag:literal]) => {};

    (@bytes_min $bytes:ident $version:ident $flexible:ident $ty:ty, ($versions:expr) []) => {
        if ($versions).contains(&$version) {
            $bytes += <$ty as $crate::primitive::Wire<'_>>::bytes_min($version, $flexible);
        }
    };
    (@bytes_min $bytes:ident $version:ident $flexible:ident $ty:ty, ($versions:expr)
        [$tag:literal]) => {};
}

/// Makes a structure nullable: one byte, negative for null, stands before its fields.
macro_rules! nullable {
    ($name:ty, $lt:lifetime) => {
        impl<$lt> $crate::primitive::Wire<$lt> for Option<$name> {
            fn decode(
                decoder: &mut $crate::primitive::Decoder<$lt>,
            ) -> Result<Self, $crate::error::DecodeError> {
                match i8::decode(decoder)? {
                    ..0 => Ok(None),
                    _ => <$name>::decode(decoder).map(Some),
                }
            }

            fn encode(
                &self,
                encoder: &mut $crate::primitive::Encoder,
            ) -> Result<(), $crate::error::EncodeError> {
                match self {
                    None => (-1_i8).encode(encoder),
                    Some(value) => {
                        1_i8.encode(encoder)?;
                        value.encode(encoder)
                    }
                }
            }

            fn bytes_min(_version: i16, _flexible: bool) -> usize {
                1
            }
        }
    };
}

/// Names an API: its key, ranges of versions, and the structures of its two messages.
macro_rules! api {
    ($key:ident, accepted $first:literal..=$last:literal, advertised from $advertised:literal,
        flexible from $flexible:expr, $request:ty, $response:ty) => {
        /// The ranges of versions of this API.
        pub const API: $crate::api::ApiTable = $crate::api::ApiTable {
            key: $crate::api::ApiKey::$key,
            first_accepted: $first,
            first_advertised: $advertised,
            last: $last,
            first_flexible: $flexible,
        };

        impl<'a> $crate::api::Message<'a> for $request {
            const API: &'static $crate::api::ApiTable = &API;
            const IS_REQUEST: bool = true;
        }

        impl<'a> $crate::api::Message<'a> for $response {
            const API: &'static $crate::api::ApiTable = &API;
            const IS_REQUEST: bool = false;
        }

        impl<'a> $crate::api::RequestMessage<'a> for $request {}

        impl<'a> $crate::api::ResponseMessage<'a> for $response {}
    };
}

pub(crate) use {api, nullable, structs};
