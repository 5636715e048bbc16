//! A model in several GGUF files, as llama.cpp splits it: all are in one directory, and the first has the metadata.

use std::path::{Path, PathBuf};

/// The name of one of several files: `STEM-00001-of-00003.gguf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartName<'n> {
    stem: &'n str,
    ending: &'n str,
    /// Which of them it is, from 1 on.
    pub number: usize,
    /// How many there are.
    pub n_parts: usize,
}

impl<'n> PartName<'n> {
    /// Understands the name or the path of a file; `None` for the only file of a model.
    pub fn of(name: &'n str) -> Option<Self> {
        let (rest, ending) = name.split_at_checked(name.len().checked_sub(".gguf".len())?)?;
        let (rest, n_parts) = rest.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let number_of = |digits: &str| (digits.len() == 5).then(|| digits.parse::<u32>().ok()).flatten();
        let (number, n_parts) = (number_of(number)? as usize, number_of(n_parts)? as usize);
        let is_one = ending.eq_ignore_ascii_case(".gguf") && (1..=n_parts).contains(&number);
        is_one.then_some(Self { stem, ending, number, n_parts })
    }

    /// The names of all of them, in order.
    pub fn all(self) -> impl Iterator<Item = String> {
        let Self { stem, ending, n_parts, .. } = self;
        (1..=n_parts).map(move |number| format!("{stem}-{number:05}-of-{n_parts:05}{ending}"))
    }
}

/// The files of the model that a file is of by its name: itself alone, or all parts, be they there or not.
pub(super) fn files_of(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(PartName::of);
    name.map_or_else(|| vec![path.to_owned()], |name| name.all().map(|name| path.with_file_name(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_their_names() {
        let name = PartName::of("q/a-b-00002-of-00003.GGUF").unwrap();
        assert_eq!((name.number, name.n_parts), (2, 3));
        assert_eq!(name.all().nth(2).unwrap(), "q/a-b-00003-of-00003.GGUF");
        for other in ["a.gguf", "a-00004-of-00003.gguf", "a-00000-of-00003.gguf", "a-1-of-3.gguf", "é-of-.gguf", "gguf"]
        {
            assert_eq!(PartName::of(other), None, "{other}");
        }
    }
}
