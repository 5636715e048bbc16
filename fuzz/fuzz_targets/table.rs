//! A csv file as a table: its header, its rows, what is learned of them, and the codebook as it is stored.
#![no_main]

use genera_data::source::{Columns, Format, read_bytes};
use genera_modality::table::{Conditions, TableCodebook, TableFit, TableSettings};
use genera_data::prepare::Fit;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(table) = TableCodebook::from_json(bytes) {
        let _ = Conditions::parse(&table, "a >= 1, b = x | y");
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let declared = TableSettings { columns: vec!["a".to_owned()], domains: vec![format!("a = {text}")], ..TableSettings::default() };
        let _ = TableFit::new(declared).begin().finish();
    }
    let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
    let columns = Columns::rows(names.clone());
    let Ok(rows) = read_bytes(bytes.to_vec(), Format::Csv { delimiter: b',' }, &columns) else { return };
    let fit = TableFit::new(TableSettings { columns: names, ..TableSettings::default() });
    let mut fitting = fit.begin();
    let rows: Vec<_> = rows.take(2000).filter_map(Result::ok).collect();
    if rows.iter().any(|row| fitting.add(row).is_err()) {
        return;
    }
    let Ok(codebook) = fitting.finish() else { return };
    let any: &dyn std::any::Any = &*codebook;
    let table: &TableCodebook = any.downcast_ref().expect("a fit of a table gives its codebook");
    for row in &rows {
        let ids = table.encode_row(row.as_row().unwrap_or_default()).expect("a row of the table is encoded");
        table.texts(&table.decode_cells(&ids));
    }
    let again = TableCodebook::from_json(codebook.to_json().as_bytes()).expect("what is written is read");
    assert_eq!(&again, table);
});
