//! TensorBoard event files: curves of a run for those who watch them there.
//!
//! # Source
//! The record format of TensorFlow's `record_writer.h` and the messages `Event` and `Summary` of its `event.proto` and
//! `summary.proto`, of which only scalars are needed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// An open event file.
#[derive(Debug)]
pub struct EventFile {
    file: File,
}

impl EventFile {
    /// Starts a new event file in `directory`; TensorBoard reads all files of a directory as one run.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let (seconds, process) = (wall_time() as u64, std::process::id());
        let path = directory.join(format!("events.out.tfevents.{seconds}.{process}"));
        let mut file = Self { file: OpenOptions::new().create(true).append(true).open(path)? };
        let mut event = Message::default();
        event.double(1, wall_time()).bytes(3, b"brain.Event:2");
        file.record(&event.0)?;
        Ok(file)
    }

    /// Adds the values of one step.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> io::Result<()> {
        let mut summary = Message::default();
        for (tag, value) in values {
            let mut scalar = Message::default();
            scalar.bytes(1, tag.as_bytes()).float(2, *value as f32);
            summary.bytes(1, &scalar.0);
        }
        let mut event = Message::default();
        event.double(1, wall_time()).integer(2, step).bytes(5, &summary.0);
        self.record(&event.0)
    }

    /// One write a record, so that a kill leaves at most one cut record at the end, which readers skip.
    fn record(&mut self, data: &[u8]) -> io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let record = [&length[..], &masked_checksum(&length), data, &masked_checksum(data)].concat();
        self.file.write_all(&record)
    }
}

fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The masking keeps a checksum of data that contains checksums from being weak.
fn masked_checksum(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// A protocol-buffer message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn key(&mut self, field: u64, wire_type: u64) -> &mut Self {
        self.varint(field << 3 | wire_type)
    }

    fn integer(&mut self, field: u64, value: u64) -> &mut Self {
        self.key(field, 0).varint(value)
    }

    fn double(&mut self, field: u64, value: f64) -> &mut Self {
        self.key(field, 1).0.extend(value.to_le_bytes());
        self
    }

    fn float(&mut self, field: u64, value: f32) -> &mut Self {
        self.key(field, 5).0.extend(value.to_le_bytes());
        self
    }

    fn bytes(&mut self, field: u64, value: &[u8]) -> &mut Self {
        self.key(field, 2).varint(value.len() as u64).0.extend(value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_length_and_checksums() {
        let directory = tempfile::tempdir().unwrap();
        EventFile::create(directory.path()).unwrap().scalars(300, &[("loss", 1.5)]).unwrap();
        let path = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
        let bytes = std::fs::read(path).unwrap();
        let mut rest = &bytes[..];
        let mut records = Vec::new();
        while !rest.is_empty() {
            let n = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked_checksum(&rest[..8]));
            assert_eq!(rest[12 + n..16 + n], masked_checksum(&rest[12..12 + n]));
            records.push(&rest[12..12 + n]);
            rest = &rest[16 + n..];
        }
        assert_eq!(records.len(), 2);
        // Field 2 (step) = 300 as a varint, then field 5 (summary) with the tag and the float.
        let expected = [&[0x10, 0xac, 0x02, 0x2a, 13, 0x0a, 11, 0x0a, 4][..], b"loss", &[0x15], &1.5_f32.to_le_bytes()];
        assert_eq!(records[1][9..], expected.concat());
    }
}
