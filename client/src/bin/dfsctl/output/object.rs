//! The JSON of what is not printed as it came: field by field, in the order that users know.

/// Serializes an object of these fields.
macro_rules! object {
    ($serializer:expr, { $($name:literal: $value:expr,)* }) => {{
        let mut object = $serializer.serialize_map(None)?;
        $(serde::ser::SerializeMap::serialize_entry(&mut object, $name, &$value)?;)*
        serde::ser::SerializeMap::end(object)
    }};
}
pub(crate) use object;
