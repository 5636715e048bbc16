//! Parquet tables, read column by column in batches of rows.

use super::csv::Places;
use super::spelling::Spelling;
use super::{Columns, Documents};
use crate::{Document, Error, Origin, Result};
use ::parquet::basic::{CompressionCodec, Type};
use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use ::parquet::data_type::DataType;
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::ChunkReader;
use ::parquet::file::serialized_reader::SerializedPageReader;
use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 256;
/// No decompressed page may be bigger.
const MAX_PAGE_BYTES: u64 = 1 << 30;

/// One document for each row.
///
/// # Errors
/// When it is not a Parquet file, or a wanted column does not exist.
pub(crate) fn read<R: ChunkReader + 'static>(path: &Path, chunks: R, columns: &Columns) -> Result<Documents> {
    let chunks = Arc::new(chunks);
    let metadata = Arc::new(metadata_of(path, &*chunks)?);
    let places = find_columns(path, &metadata, columns)?;
    let rows = Rows {
        path: path.to_owned(),
        chunks,
        metadata,
        places,
        fields: columns.fields.clone(),
        next_group: 0,
        open: Vec::new(),
        rows_left: 0,
        ready: VecDeque::new(),
        n_read: 0,
        has_failed: false,
    };
    Ok(Box::new(rows))
}

fn bad(path: &Path, error: ParquetError) -> Error {
    Error::bad_file(path, format!("cannot be read as Parquet ({error}); copy or download it again"))
}

fn metadata_of<R: ChunkReader>(path: &Path, chunks: &R) -> Result<ParquetMetaData> {
    let reader = ::parquet::file::metadata::ParquetMetaDataReader::new();
    reader.parse_and_finish(chunks).map_err(|error| bad(path, error))
}

/// The names of the columns with one plain value a row.
///
/// # Errors
/// When it is not a Parquet file.
pub(super) fn names<R: ChunkReader>(path: &Path, chunks: &R) -> Result<Vec<String>> {
    Ok(plain_columns(&metadata_of(path, chunks)?).into_iter().map(|(_, name)| name).collect())
}

/// The names of the columns with lists or records in a row, which are not read.
///
/// # Errors
/// When it is not a Parquet file.
pub(super) fn nested_names<R: ChunkReader>(path: &Path, chunks: &R) -> Result<Vec<String>> {
    let metadata = metadata_of(path, chunks)?;
    let columns = metadata.file_metadata().schema_descr().root_schema().get_fields();
    Ok(columns.iter().filter(|column| column.is_group()).map(|column| column.name().to_owned()).collect())
}

/// Place and name of each column with one plain value a row.
fn plain_columns(metadata: &ParquetMetaData) -> Vec<(usize, String)> {
    let schema = metadata.file_metadata().schema_descr();
    let is_plain = |column: &::parquet::schema::types::ColumnDescPtr| {
        column.max_rep_level() == 0 && !matches!(column.physical_type(), Type::INT96 | Type::FIXED_LEN_BYTE_ARRAY)
    };
    let plain = (0..schema.num_columns()).filter(|&i| is_plain(&schema.column(i)));
    plain.map(|i| (i, schema.column(i).path().string())).collect()
}

/// Finds the wanted columns among those with one plain value a row.
fn find_columns(path: &Path, metadata: &ParquetMetaData, columns: &Columns) -> Result<Places> {
    let (indices, names): (Vec<usize>, Vec<String>) = plain_columns(metadata).into_iter().unzip();
    let places = Places::find(path, &names, columns)?;
    Ok(Places {
        text: places.text.map(|place| indices[place]),
        target: places.target.map(|place| indices[place]),
        fields: places.fields.into_iter().map(|place| indices[place]).collect(),
    })
}

struct Rows<R: ChunkReader> {
    path: PathBuf,
    chunks: Arc<R>,
    metadata: Arc<ParquetMetaData>,
    places: Places,
    fields: Vec<String>,
    next_group: usize,
    /// The wanted columns of the open row group: text, target if any, fields.
    open: Vec<(ColumnReader, Spelling)>,
    rows_left: usize,
    ready: VecDeque<Document>,
    n_read: u64,
    has_failed: bool,
}

impl<R: ChunkReader + 'static> Rows<R> {
    fn next_row(&mut self) -> Result<Option<Document>> {
        while self.ready.is_empty() {
            if self.rows_left > 0 {
                self.read_batch()?;
            } else if self.next_group < self.metadata.num_row_groups() {
                self.open_group().map_err(|error| bad(&self.path, error))?;
            } else {
                return Ok(None);
            }
        }
        Ok(self.ready.pop_front())
    }

    fn open_group(&mut self) -> ParquetResult<()> {
        let group = self.metadata.row_group(self.next_group);
        let n_rows = usize::try_from(group.num_rows())?;
        let wanted = self.places.text.into_iter().chain(self.places.target).chain(self.places.fields.iter().copied());
        let open = wanted.map(|place| {
            let column = group.column(place);
            let pages = open_pages(self.chunks.clone(), column, n_rows)?;
            let spelling = Spelling::of(column.column_descr());
            Ok((get_column_reader(column.column_descr_ptr(), pages), spelling))
        });
        self.open = open.collect::<ParquetResult<_>>()?;
        self.rows_left = n_rows;
        self.next_group += 1;
        Ok(())
    }

    fn read_batch(&mut self) -> Result<()> {
        let n_rows = self.rows_left.min(BATCH_ROWS);
        let mut columns = Vec::with_capacity(self.open.len());
        for (reader, spelling) in &mut self.open {
            let values = read_values(reader, n_rows, *spelling).map_err(|error| bad(&self.path, error))?;
            columns.push(values.into_iter());
        }
        for _ in 0..n_rows {
            let document = self.document(&mut columns)?;
            self.ready.push_back(document);
            self.n_read += 1;
        }
        self.rows_left -= n_rows;
        Ok(())
    }

    fn document(&self, columns: &mut [std::vec::IntoIter<Vec<u8>>]) -> Result<Document> {
        let place = || format!("row {}", self.n_read + 1);
        let mut values = columns.iter_mut().map(|column| {
            let value = column.next().ok_or_else(|| Error::bad_record(&self.path, place(), "is missing a value"))?;
            String::from_utf8(value).map_err(|_| Error::bad_record(&self.path, place(), "is not valid UTF-8"))
        });
        let mut next = || values.next().expect("a column for each wanted place");
        if self.places.text.is_none() {
            let values = self.places.fields.iter().map(|_| next()).collect::<Result<_>>()?;
            return Ok(Document::row(Origin::new(self.path.to_string_lossy(), self.n_read), values));
        }
        let text = next()?;
        let target = self.places.target.map(|_| next()).transpose()?;
        let fields = self.fields.iter().map(|name| Ok((name.clone(), next()?))).collect::<Result<_>>()?;
        let origin = Origin::new(self.path.to_string_lossy(), self.n_read);
        Ok(Document { target, fields, ..Document::text(origin, text) })
    }
}

impl<R: ChunkReader + 'static> Iterator for Rows<R> {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let row = self.next_row().transpose();
        self.has_failed = matches!(row, Some(Err(_)));
        row
    }
}

/// The next `n_rows` values as text; an absent one is empty.
fn read_values(reader: &mut ColumnReader, n_rows: usize, spelling: Spelling) -> ParquetResult<Vec<Vec<u8>>> {
    fn shown<T: ToString>(value: T) -> Vec<u8> {
        value.to_string().into_bytes()
    }
    match reader {
        ColumnReader::ByteArrayColumnReader(reader) => read_typed(reader, n_rows, |value| value.data().to_vec()),
        ColumnReader::BoolColumnReader(reader) => read_typed(reader, n_rows, shown),
        ColumnReader::Int32ColumnReader(reader) => read_typed(reader, n_rows, |value| spelling.spell(value.into())),
        ColumnReader::Int64ColumnReader(reader) => read_typed(reader, n_rows, |value| spelling.spell(value)),
        ColumnReader::FloatColumnReader(reader) => read_typed(reader, n_rows, shown),
        ColumnReader::DoubleColumnReader(reader) => read_typed(reader, n_rows, shown),
        _ => Err(ParquetError::General("the column holds neither text nor numbers".to_owned())),
    }
}

fn read_typed<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    n_rows: usize,
    to_text: impl Fn(T::T) -> Vec<u8>,
) -> ParquetResult<Vec<Vec<u8>>> {
    let (mut present, mut levels) = (Vec::new(), Vec::new());
    let mut n_read = 0;
    while n_read < n_rows {
        let (n, ..) = reader.read_records(n_rows - n_read, Some(&mut levels), None, &mut present)?;
        if n == 0 {
            return Err(ParquetError::EOF("a column has fewer values than the table has rows".to_owned()));
        }
        n_read += n;
    }
    let mut present = present.into_iter().map(to_text);
    if levels.is_empty() {
        return Ok(present.collect());
    }
    let max_level = levels.iter().copied().max().unwrap_or(0);
    Ok(levels
        .iter()
        .map(|&level| if level == max_level { present.next().unwrap_or_default() } else { Vec::new() })
        .collect())
}

/// The pages of a column. Zstandard ones are decompressed here, by a decoder written in Rust: the `parquet` crate
/// is told that the column is not compressed, and gives the pages as they are.
fn open_pages<R: ChunkReader + 'static>(
    chunks: Arc<R>,
    column: &::parquet::file::metadata::ColumnChunkMetaData,
    n_rows: usize,
) -> ParquetResult<Box<dyn PageReader>> {
    if column.compression_codec() != CompressionCodec::ZSTD {
        return Ok(Box::new(SerializedPageReader::new(chunks, column, n_rows, None)?));
    }
    let as_stored = column.clone().into_builder().set_compression_codec(CompressionCodec::UNCOMPRESSED).build()?;
    Ok(Box::new(ZstdPages(SerializedPageReader::new(chunks, &as_stored, n_rows, None)?)))
}

struct ZstdPages<R: ChunkReader>(SerializedPageReader<R>);

impl<R: ChunkReader> ZstdPages<R> {
    fn decompress(mut page: Page) -> ParquetResult<Page> {
        match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => *buf = decompress(buf, 0)?.into(),
            Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, is_compressed, .. } => {
                if *is_compressed {
                    let n_plain = *def_levels_byte_len as usize + *rep_levels_byte_len as usize;
                    *buf = decompress(buf, n_plain)?.into();
                    *is_compressed = false;
                }
            }
        }
        Ok(page)
    }
}

/// `bytes` with everything after the first `n_plain` decompressed.
fn decompress(bytes: &[u8], n_plain: usize) -> ParquetResult<Vec<u8>> {
    let damaged = |reason: String| ParquetError::General(format!("Zstandard page: {reason}"));
    let (plain, packed) = bytes.split_at_checked(n_plain).ok_or_else(|| damaged("is cut short".to_owned()))?;
    let mut data = plain.to_vec();
    if !packed.is_empty() {
        let decoder = ruzstd::decoding::StreamingDecoder::new(packed).map_err(|error| damaged(error.to_string()))?;
        let n = decoder.take(MAX_PAGE_BYTES).read_to_end(&mut data).map_err(|error| damaged(error.to_string()))?;
        if n as u64 == MAX_PAGE_BYTES {
            return Err(damaged(format!("is bigger than {} MiB", MAX_PAGE_BYTES >> 20)));
        }
    }
    Ok(data)
}

impl<R: ChunkReader> Iterator for ZstdPages<R> {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl<R: ChunkReader> PageReader for ZstdPages<R> {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        self.0.get_next_page()?.map(Self::decompress).transpose()
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.0.skip_next_page()
    }
}
