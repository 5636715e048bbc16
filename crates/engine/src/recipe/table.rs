//! One table of a recipe: each key is declared once, with what it means, its type and its default; reading, writing and
//! the reference pages follow from the declaration.

use toml::Value;

/// A key of a recipe.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The table it stands in.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub summary: &'static str,
    expects: fn() -> String,
}

impl Key {
    pub(super) const fn new(
        table: &'static str,
        name: &'static str,
        summary: &'static str,
        expects: fn() -> String,
    ) -> Self {
        Self { table, name, summary: summary.trim_ascii(), expects }
    }

    /// What kind of value it takes.
    pub fn expects(&self) -> String {
        (self.expects)()
    }
}

/// A table of a recipe.
pub(super) trait Table {
    /// Its keys, in the order in which they are written.
    fn keys(&self) -> &'static [Key];

    /// Sets a key; false when the value is of another type.
    fn read(&mut self, key: &str, value: &Value) -> bool;

    /// The value of a key; `None` when it is not set.
    fn write(&self, key: &str) -> Option<Value>;
}

macro_rules! table {
    (
        $(#[doc = $about:literal])*
        $table:literal => $Table:ident {
            $( $(#[doc = $summary:literal])* $key:ident: $type:ty = $default:expr, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $Table {
            $( $(#[doc = $summary])* pub $key: $type, )*
        }

        impl Default for $Table {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }

        impl $crate::recipe::table::Table for $Table {
            fn keys(&self) -> &'static [$crate::recipe::Key] {
                use $crate::recipe::{Key, setting::Setting};
                const KEYS: &[Key] = &[
                    $( Key::new($table, stringify!($key), concat!($($summary),*), <$type as Setting>::expects), )*
                ];
                KEYS
            }

            fn read(&mut self, key: &str, value: &toml::Value) -> bool {
                match key {
                    $( stringify!($key) => $crate::recipe::setting::Setting::read(value).map(|value| self.$key = value), )*
                    _ => None,
                }
                .is_some()
            }

            fn write(&self, key: &str) -> Option<toml::Value> {
                match key {
                    $( stringify!($key) => $crate::recipe::setting::Setting::write(&self.$key), )*
                    _ => None,
                }
            }
        }
    };
}
pub(super) use table;
