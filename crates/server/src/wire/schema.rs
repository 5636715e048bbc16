//! JSON Schemas of what is read by hand; all others are derived.

/// Gives a type its JSON Schema: `schema!(Type, { … })`, or `schema!(Type, generator => { … })` with schemas of others in it.
macro_rules! schema {
    ($name:ident, $schema:tt) => {
        $crate::wire::schema::schema!($name, _generator => $schema);
    };
    ($name:ident, $generator:ident => $schema:tt) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema($generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
pub(crate) use schema;
