//! A ZIP archive as `torch.save` writes it: members stored as they are, with 64-bit sizes where they are needed.
//!
//! # Source
//! PKWARE, "APPNOTE.TXT - .ZIP File Format Specification" 6.3, sections 4.3.7, 4.3.12 and 4.3.14 to 4.3.16.

use super::Sound;
use super::bytes::{Bytes, read_at};
use super::entry::Entry;
use super::pickle::{MAX_PICKLE_BYTES, Pickle};
use super::state_dict::{self, StorageRef};
use crate::weights::content::Content;
use std::collections::HashMap;
use std::ops::Range;

/// What a member begins with.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const END_64_LOCATOR: &[u8] = b"PK\x06\x07";

const END_BYTES: u64 = 22;
const END_64_BYTES: u64 = 56;
const LOCATOR_BYTES: u64 = 20;
const HEADER_BYTES: u64 = 30;
/// The tag of the field with 64-bit sizes.
const ZIP64: u16 = 1;

/// Longest directory that is read.
const MAX_DIRECTORY_BYTES: u64 = 16 << 20;
/// Most members: one for each storage of a model, and a few more.
const MAX_MEMBERS: u64 = 1 << 16;

/// The members of an archive by name, and the bytes of each.
#[derive(Debug)]
pub(super) struct Archive {
    members: HashMap<String, Range<u64>>,
}

/// Where the directory lies.
struct Directory {
    range: Range<u64>,
    n_members: u64,
}

/// A member as the directory describes it.
struct Member {
    name: String,
    header_at: u64,
    n_bytes: u64,
}

impl Archive {
    /// Reads the directory at the end of a file, and the header of each member.
    pub(super) fn read(content: &mut dyn Content, file_len: u64) -> Sound<Self> {
        let directory = find_directory(content, file_len)?;
        let n_bytes = directory.range.end - directory.range.start;
        let bytes = read_at(content, directory.range.start, n_bytes, "the directory of the archive")?;
        let mut bytes = Bytes::new(&bytes);
        let mut ranges = Vec::new();
        let mut members = HashMap::new();
        for _ in 0..directory.n_members {
            let member = read_member(&mut bytes)?;
            let range = locate(content, &member, directory.range.start)?;
            ranges.push(range.clone());
            if members.insert(member.name.clone(), range).is_some() {
                return Err(format!("the archive has '{}' twice", member.name));
            }
        }
        ranges.sort_by_key(|range| range.start);
        if ranges.windows(2).any(|pair| pair[1].start < pair[0].end) {
            return Err("members of the archive overlap".to_owned());
        }
        Ok(Self { members })
    }

    /// The tensors that the pickle describes, each with its place in the file.
    pub(super) fn entries(&self, content: &mut dyn Content) -> Sound<Vec<Entry>> {
        let root = self.root()?;
        self.refuse_big_endian(content, root)?;
        let range = self.members[&format!("{root}/data.pkl")].clone();
        let n_bytes = range.end - range.start;
        if n_bytes > MAX_PICKLE_BYTES {
            return Err(format!("data.pkl has {n_bytes} bytes; at most {MAX_PICKLE_BYTES} are read"));
        }
        let bytes = read_at(content, range.start, n_bytes, "data.pkl")?;
        let (pickle, _) = Pickle::load(&bytes)?;
        let place = |storage: &StorageRef| {
            let name = format!("{root}/data/{}", storage.key);
            let range = self.members.get(&name).ok_or_else(|| format!("the archive has no '{name}'"))?;
            let found = range.end - range.start;
            if storage.n_bytes() != Some(found) {
                return Err(format!("'{name}' has {found} bytes, expected {} of {:?}", storage.n, storage.stored));
            }
            Ok(range.clone())
        };
        state_dict::entries(&pickle, &place)
    }

    /// The directory inside of the archive that everything is in.
    fn root(&self) -> Sound<&str> {
        let roots = self.members.keys().filter_map(|name| name.strip_suffix("/data.pkl"));
        let mut roots = roots.filter(|root| !root.contains('/'));
        match (roots.next(), roots.next()) {
            (Some(root), None) => Ok(root),
            (None, _) => Err("the archive has no NAME/data.pkl; torch.save did not write it".to_owned()),
            (Some(a), Some(b)) => Err(format!("the archive has both '{a}/data.pkl' and '{b}/data.pkl'")),
        }
    }

    fn refuse_big_endian(&self, content: &mut dyn Content, root: &str) -> Sound<()> {
        let Some(range) = self.members.get(&format!("{root}/byteorder")) else { return Ok(()) };
        let n_bytes = (range.end - range.start).min(16);
        match read_at(content, range.start, n_bytes, "byteorder")?.as_slice() {
            b"little" => Ok(()),
            other => {
                let other = String::from_utf8_lossy(other);
                Err(format!("its byte order is '{other}', only 'little' is read; save it again on another machine"))
            }
        }
    }
}

/// Reads what the last bytes of a file say of its directory.
fn find_directory(content: &mut dyn Content, file_len: u64) -> Sound<Directory> {
    const LONGEST: u64 = END_BYTES + u16::MAX as u64;
    let tail_at = file_len.saturating_sub(LONGEST);
    let tail = read_at(content, tail_at, file_len - tail_at, "the end of the archive")?;
    let is_end = |&at: &usize| {
        let comment = tail.get(at + 20..at + 22).map(|len| usize::from(u16::from_le_bytes([len[0], len[1]])));
        tail[at..].starts_with(END) && comment == Some(tail.len() - at - END_BYTES as usize)
    };
    let at = (0..(tail.len() + 1).saturating_sub(END_BYTES as usize)).rev().find(is_end);
    let at = at.ok_or("the archive has no directory at its end; it is cut short")?;
    let mut end = Bytes::new(&tail[at + 4..]);
    let what = "the end of the archive";
    let disks = [end.u16(what)?, end.u16(what)?];
    let counts = [end.u16(what)?, end.u16(what)?].map(u64::from);
    let [n_bytes, start] = [end.u32(what)?, end.u32(what)?].map(u64::from);
    let end_at = tail_at + at as u64;
    if let Some(directory) = find_directory_64(content, end_at)? {
        return Ok(directory);
    }
    if disks != [0, 0] || counts[0] != counts[1] {
        return Err("it is one of several parts of an archive; join them first".to_owned());
    }
    checked_directory(start, n_bytes, counts[0], end_at)
}

/// The same with 64-bit sizes, where there is such a record before the end.
fn find_directory_64(content: &mut dyn Content, end_at: u64) -> Sound<Option<Directory>> {
    let what = "the 64-bit end of the archive";
    let Some(locator_at) = end_at.checked_sub(LOCATOR_BYTES) else { return Ok(None) };
    let locator = read_at(content, locator_at, LOCATOR_BYTES, what)?;
    if !locator.starts_with(END_64_LOCATOR) {
        return Ok(None);
    }
    let at = Bytes::new(&locator[8..]).u64(what)?;
    if at.checked_add(END_64_BYTES).is_none_or(|end| end > locator_at) {
        return Err(format!("{what} would be at byte {at}, behind its own locator"));
    }
    let record = read_at(content, at, END_64_BYTES, what)?;
    if !record.starts_with(END_64) {
        return Err(format!("{what} is not at byte {at}, where it should be"));
    }
    let mut record = Bytes::new(&record[32..]);
    let [n_members, n_bytes, start] = [record.u64(what)?, record.u64(what)?, record.u64(what)?];
    checked_directory(start, n_bytes, n_members, at).map(Some)
}

fn checked_directory(start: u64, n_bytes: u64, n_members: u64, limit: u64) -> Sound<Directory> {
    let end = start.checked_add(n_bytes).filter(|&end| end <= limit);
    let end =
        end.ok_or_else(|| format!("its directory of {n_bytes} bytes at byte {start} goes beyond byte {limit}"))?;
    if n_bytes > MAX_DIRECTORY_BYTES || n_members > MAX_MEMBERS {
        return Err(format!(
            "its directory has {n_members} members in {n_bytes} bytes; at most {MAX_MEMBERS} in {MAX_DIRECTORY_BYTES} are read"
        ));
    }
    Ok(Directory { range: start..end, n_members })
}

/// Reads the next entry of the directory.
fn read_member(bytes: &mut Bytes<'_>) -> Sound<Member> {
    let what = "an entry of the directory";
    if bytes.take(4, what)? != DIRECTORY_ENTRY {
        return Err(format!("{what} does not begin as one"));
    }
    bytes.take(4, what)?;
    let [flags, method] = [bytes.u16(what)?, bytes.u16(what)?];
    bytes.take(8, what)?;
    let [packed, n_bytes] = [bytes.u32(what)?, bytes.u32(what)?];
    let [name_len, extra_len, comment_len] = [bytes.u16(what)?, bytes.u16(what)?, bytes.u16(what)?].map(usize::from);
    bytes.take(8, what)?;
    let header_at = bytes.u32(what)?;
    let name = bytes.take(name_len, what)?;
    let name = std::str::from_utf8(name).map_err(|_| "the name of a member is not UTF-8")?.to_owned();
    let mut wide = wide_sizes(bytes.take(extra_len, what)?)?;
    bytes.take(comment_len, what)?;
    if flags & 1 != 0 {
        return Err(format!("'{name}' is encrypted"));
    }
    if method != 0 {
        return Err(format!(
            "'{name}' is compressed, which torch.save never does; unpack the archive and store it anew"
        ));
    }
    let [n_bytes, packed, header_at] = [n_bytes, packed, header_at].map(|narrow| match narrow {
        u32::MAX => wide.u64("a 64-bit size in the directory"),
        narrow => Ok(u64::from(narrow)),
    });
    let (n_bytes, packed, header_at) = (n_bytes?, packed?, header_at?);
    if packed != n_bytes {
        return Err(format!("'{name}' has {n_bytes} bytes that are stored in {packed}"));
    }
    Ok(Member { name, header_at, n_bytes })
}

/// The 64-bit sizes among the extra fields of an entry; empty where there are none.
fn wide_sizes(extra: &[u8]) -> Sound<Bytes<'_>> {
    let mut fields = Bytes::new(extra);
    while !fields.is_empty() {
        let what = "an extra field of the directory";
        let [tag, len] = [fields.u16(what)?, fields.u16(what)?];
        let field = fields.take(usize::from(len), what)?;
        if tag == ZIP64 {
            return Ok(Bytes::new(field));
        }
    }
    Ok(Bytes::new(&[]))
}

/// The bytes of a member, which lie behind a header of their own and before `limit`.
fn locate(content: &mut dyn Content, member: &Member, limit: u64) -> Sound<Range<u64>> {
    let Member { name, header_at, n_bytes } = member;
    let beyond =
        || format!("'{name}' of {n_bytes} bytes at byte {header_at} goes beyond the directory at byte {limit}");
    let name_at = header_at.checked_add(HEADER_BYTES).filter(|&end| end <= limit).ok_or_else(beyond)?;
    let header = read_at(content, *header_at, HEADER_BYTES, name)?;
    if !header.starts_with(MAGIC) {
        return Err(format!("'{name}' is not at byte {header_at}, where the directory says"));
    }
    let mut lens = Bytes::new(&header[26..]);
    let [name_len, extra_len] = [lens.u16(name)?, lens.u16(name)?].map(u64::from);
    let start = name_at + name_len + extra_len;
    let end = start.checked_add(*n_bytes).filter(|&end| end <= limit).ok_or_else(beyond)?;
    Ok(start..end)
}
