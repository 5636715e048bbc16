//! What the hub promises of a file's content.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes summed at a time.
const CHUNK_BYTES: usize = 1 << 17;

/// A sum of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256 of the content: large files.
    Sha256(String),
    /// SHA-1 of the content as a blob of git: small files.
    GitBlob(String),
}

impl Checksum {
    /// The sum in hexadecimal digits, by which the cache names the content.
    pub fn digits(&self) -> &str {
        match self {
            Checksum::Sha256(digits) | Checksum::GitBlob(digits) => digits,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Checksum::Sha256(_) => "SHA-256",
            Checksum::GitBlob(_) => "git SHA-1",
        }
    }

    /// Starts to sum a file of `n_bytes`.
    pub fn begin(&self, n_bytes: u64) -> Summing {
        match self {
            Checksum::Sha256(_) => Summing::Sha256(Sha256::new()),
            Checksum::GitBlob(_) => Summing::GitBlob(Sha1::new_with_prefix(format!("blob {n_bytes}\0"))),
        }
    }

    /// Whether it is the sum of what a file holds. `watch` is told how many bytes were read, again and again.
    ///
    /// # Errors
    /// When the file cannot be read.
    ///
    /// # Cost
    /// As fast as a disk reads: about a gigabyte a second where the processor has instructions for it.
    pub fn is_of(&self, path: &Path, n_bytes: u64, watch: &mut dyn FnMut(u64)) -> io::Result<bool> {
        let (mut sum, mut file, mut n_read) = (self.begin(n_bytes), File::open(path)?, 0);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(n_read == n_bytes && sum.finish() == self.digits()),
                n => {
                    sum.update(&chunk[..n]);
                    n_read += n as u64;
                }
            }
            watch(n_read);
        }
    }

    /// Whether digits are those of such a sum: they become a file name.
    pub fn is_sound(&self) -> bool {
        let n_digits = match self {
            Checksum::Sha256(_) => 64,
            Checksum::GitBlob(_) => 40,
        };
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        self.digits().len() == n_digits && self.digits().bytes().all(is_digit)
    }
}

/// A sum in the making.
#[derive(Clone, Debug)]
pub enum Summing {
    /// See [`Checksum::Sha256`].
    Sha256(Sha256),
    /// See [`Checksum::GitBlob`].
    GitBlob(Sha1),
}

impl Summing {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Summing::Sha256(sum) => sum.update(bytes),
            Summing::GitBlob(sum) => sum.update(bytes),
        }
    }

    /// The digits of the sum.
    pub fn finish(self) -> String {
        match self {
            Summing::Sha256(sum) => hexadecimal(&sum.finalize()),
            Summing::GitBlob(sum) => hexadecimal(&sum.finalize()),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes any text");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sums that `sha256sum` and `git hash-object` print of the same bytes.
    #[test]
    fn sums_are_those_of_other_programs() {
        let sum = |checksum: Checksum| {
            let mut summing = checksum.begin(6);
            summing.update(b"hel");
            summing.update(b"lo\n");
            summing.finish()
        };
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(sum(Checksum::Sha256(String::new())), sha256);
        assert_eq!(sum(Checksum::GitBlob(String::new())), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert!(Checksum::Sha256(sha256.to_owned()).is_sound());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "hello\n").unwrap();
        let is_of = |n_bytes| Checksum::Sha256(sha256.to_owned()).is_of(&path, n_bytes, &mut |_| {}).unwrap();
        assert!(is_of(6) && !is_of(5));
        std::fs::write(&path, "hallo\n").unwrap();
        assert!(!Checksum::Sha256(sha256.to_owned()).is_of(&path, 6, &mut |_| {}).unwrap());
        assert!(!Checksum::GitBlob(sha256.to_owned()).is_sound());
        assert!(!Checksum::GitBlob("../../../../../../../../../../../../../../".to_owned()).is_sound());
    }
}
