//! Rows that a model without any knowledge would make are legal all the same.

use super::*;
use crate::demo::Dice;
use genera_engine::generate::TokenMask;
use std::collections::BTreeSet;

fn fitted(settings: TableSettings, rows: impl Iterator<Item = Vec<String>>) -> Codebook {
    let mut fitting = TableFit::new(settings).begin();
    for (i, row) in rows.enumerate() {
        fitting.add(&Document::row(genera_data::Origin::new("test", i as u64), row)).unwrap();
    }
    fitting.finish().unwrap()
}

fn named(names: &[&str]) -> TableSettings {
    TableSettings { columns: names.iter().map(|name| (*name).to_owned()).collect(), ..TableSettings::default() }
}

/// A stay in a hotel: it ends after it began, in a city of its country.
fn stays(settings: impl FnOnce(TableSettings) -> TableSettings) -> Codebook {
    let row = |i: u64| {
        let mut dice = Dice::new(1, i);
        let start = dice.below(3000);
        let place = [("Oslo", "Norway"), ("Bergen", "Norway"), ("Rome", "Italy")][dice.below(3)];
        let end = if dice.below(9) == 0 { String::new() } else { (start + dice.below(900)).to_string() };
        vec![start.to_string(), end, place.0.to_owned(), place.1.to_owned(), format!("{}.5", dice.below(50_000))]
    };
    fitted(settings(named(&["start", "end", "city", "country", "price"])), (0..2000).map(row))
}

/// A row of tokens that the grammar allows, each with the same chance.
fn random_row(codebook: &Codebook, conditions: &Conditions, seed: u64) -> Option<Vec<TokenId>> {
    random_tokens(codebook, &mut RowGrammar::new(codebook, conditions).unwrap(), seed)
}

fn random_tokens(codebook: &Codebook, grammar: &mut dyn Constraint, seed: u64) -> Option<Vec<TokenId>> {
    let mut dice = Dice::new(seed, 0);
    let mut ids = Vec::new();
    loop {
        let mut mask = TokenMask::all(codebook.vocab().size);
        grammar.restrict(&mut mask);
        let allowed: Vec<TokenId> = mask.iter().collect();
        if allowed.is_empty() {
            return None;
        }
        let id = allowed[dice.below(allowed.len())];
        if Some(id) == codebook.vocab().special.end {
            return Some(ids);
        }
        grammar.advance(id);
        ids.push(id);
    }
}

fn random_rows(codebook: &Codebook, conditions: &Conditions) -> Vec<Vec<String>> {
    let table = of(codebook).unwrap();
    let row = |seed| Some(table.texts(&table.decode_cells(&random_row(codebook, conditions, seed)?)));
    (0..300).filter_map(row).collect()
}

#[test]
fn every_row_that_the_grammar_allows_is_legal() {
    let codebook = stays(|settings| TableSettings {
        constraints: vec!["start <= end".to_owned()],
        combinations: vec!["city + country".to_owned()],
        ..settings
    });
    let rows = random_rows(&codebook, &Conditions::none(of(&codebook).unwrap()));
    assert_eq!(rows.len(), 300, "no row came to a dead end");
    for row in &rows {
        let start: i64 = row[0].parse().unwrap();
        assert!((0..3000).contains(&start));
        assert!(row[1].is_empty() || start <= row[1].parse().unwrap(), "{row:?}");
        assert_eq!(row[3], if row[2] == "Rome" { "Italy" } else { "Norway" }, "{row:?}");
        let price: f64 = row[4].parse().unwrap();
        assert!((0.5..50_000.0).contains(&price) && (2.0 * price).fract() == 0.0, "{row:?}");
    }
    assert!(rows.iter().any(|row| row[1].is_empty()) && rows.iter().any(|row| !row[1].is_empty()));
}

#[test]
fn conditions_are_met() {
    let codebook = stays(|settings| TableSettings { combinations: vec!["city + country".to_owned()], ..settings });
    let table = of(&codebook).unwrap();
    let check = |text: &str, is_met: fn(&[String]) -> bool| {
        let rows = random_rows(&codebook, &Conditions::parse(table, text).unwrap());
        assert!(rows.len() == 300 && rows.iter().all(|row| is_met(row)), "{text}");
    };
    check("country = Norway", |row| row[2] == "Oslo" || row[2] == "Bergen");
    check("city = \"Rome\" | Oslo, end = missing", |row| row[1].is_empty() && row[2] != "Bergen");
    check("city != Rome", |row| row[3] == "Norway");
    check("start >= 2990", |row| row[0].parse::<i64>().unwrap() >= 2990);
    check("start > 100, start < 102.5", |row| ["101", "102"].contains(&row[0].as_str()));
    check("price = 100..200, end <= 90", |row| (100.0..=200.0).contains(&row[4].parse::<f64>().unwrap()));
}

/// Trips that begin at full hours of two days, with whole ages and thousandths of a second.
fn trips() -> Codebook {
    let row = |i: u64| {
        let (when, age) = (format!("2024-03-0{} {:02}:00", 1 + i / 24 % 2, i % 24), 20 + i % 40);
        let stamp = format!("2024-03-01 {:02}:00:00.{:03}", i % 24, i % 1000);
        vec![when, age.to_string(), stamp, format!("0.{:02}", i * 7 % 100)]
    };
    fitted(named(&["when", "age", "stamp", "share"]), (0..2000).map(row))
}

#[test]
fn conditions_beside_the_grid_are_met() {
    let codebook = trips();
    let table = of(&codebook).unwrap();
    let parse = |text: &str| Conditions::parse(table, text);
    let check = |text: &str, column: usize, allowed: &[&str], forbidden: &[&str]| {
        let conditions = parse(text).unwrap();
        let allows = |value: &&str| {
            let code = table.columns()[column].code(value).unwrap();
            assert_eq!(table.columns()[column].text(code), **value, "the value is on the grid");
            conditions.domains()[column].allows(Cell::Code(code))
        };
        assert!(
            allowed.iter().all(allows) && !forbidden.iter().any(allows),
            "{text}: {:?}",
            conditions.domains()[column]
        );
    };
    let (ten, eleven) = ("2024-03-01 10:00", "2024-03-01 11:00");
    check("when >= 2024-03-01 10:30", 0, &[eleven], &[ten]);
    check("when > 2024-03-01 10:30", 0, &[eleven], &[ten]);
    check("when < 2024-03-01 10:30", 0, &[ten], &[eleven]);
    check("when <= 2024-03-01 10:30", 0, &[ten], &[eleven]);
    check("when < 2024-03-01 10:00", 0, &["2024-03-01 09:00"], &[ten]);
    check("when > 2024-03-01 10:00", 0, &[eleven], &[ten]);
    check("when = 2024-03-01 09:59..2024-03-01 10:01", 0, &[ten], &[eleven, "2024-03-01 09:00"]);
    let before = "2024-03-01 11:00:00.010";
    check("stamp <= 2024-03-01 11:00:00.010", 2, &[before], &["2024-03-01 11:00:00.011"]);
    check("stamp < 2024-03-01 11:00:00.011", 2, &[before], &["2024-03-01 11:00:00.011"]);
    check("age <= 30.4", 1, &["30"], &["31"]);
    check("age > 30.4", 1, &["31"], &["30"]);
    check("age = 30 | 3.2e1", 1, &["30", "32"], &["31"]);
    check("age != 30.0", 1, &["29", "31"], &["30"]);
    check("share <= 0.29", 3, &["0.29"], &["0.30"]);
    let refused = |text: &str, expect: &str| {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(expect), "{error}");
    };
    refused("age = 30.4", "never holds \"30.4\"; near it are 30 and 31");
    refused("age != 30.4", "near it are 30 and 31");
    refused("age = 99", "nearest to it is 59: age goes from 20 to 59");
    refused("when = 2024-03-01 10:30", &format!("near it are {ten} and {eleven}"));
    let refused = rows_for(&codebook, serde_json::json!({ "where": { "age": 30.4 } })).unwrap_err().to_string();
    assert!(refused.contains("near it are 30 and 31"), "{refused}");
    let limits =
        serde_json::json!({ "where": { "age": { "min": 30.4, "max": 31.5 }, "when": { "max": "2024-03-01 10:30" } } });
    let rows = rows_for(&codebook, limits).unwrap();
    assert!(rows.len() == 200 && rows.iter().all(|row| row["age"] == 31 && row["when"].as_str().unwrap() <= ten));
}

#[test]
fn wrong_conditions_name_what_is_legal() {
    let codebook = stays(|settings| settings);
    let table = of(&codebook).unwrap();
    let check = |text: &str, expect: &str| {
        let error = Conditions::parse(table, text).expect_err(text).to_string();
        assert!(error.contains(expect), "{error}");
    };
    check("land = Norway", "The columns are start, end, city, country, price");
    check("country = Spain", "country is one of Norway, Italy");
    check("start = 99999", "start goes from 1 to 2999");
    check("start >= 99999", "no row meets");
    check("start > soon", "is no limit of column \"start\"");
    check("city < Rome", "has no order");
    check("city", "is no condition");
    check("start = missing", "never holds \"missing\"");
    check("price != 2.5, city = Rome, city = Oslo", "no row meets");
}

#[test]
fn any_columns_may_come_first_and_nothing_is_lost() {
    let codebook = stays(|settings| settings);
    let table = of(&codebook).unwrap();
    let order = RowOrder::new(table);
    let row = ["17", "229", "Rome", "Italy", "140.5"].map(str::to_owned);
    let ids = table.encode_row(&row).unwrap();
    let mut orders = BTreeSet::new();
    for key in 0..500 {
        let mut varied = ids.clone();
        order.vary(&mut varied, key);
        assert_eq!(table.texts(&table.decode_cells(&varied)), row);
        assert_eq!((varied[0], varied.last()), (ids[0], ids.last()));
        orders.insert(varied.into_iter().filter(|&id| !order.is_learned(id)).collect::<Vec<_>>());
    }
    // Every set of columns in front gives an order; those that are a beginning of the table's own give that one.
    assert_eq!(orders.len(), (1 << 5) - 5);
}

#[test]
fn rows_that_the_table_never_saw_are_brought_near() {
    let codebook = stays(|settings| settings);
    let table = of(&codebook).unwrap();
    let texts = |row: [&str; 5]| {
        let ids = table.encode_row(&row.map(str::to_owned)).unwrap();
        assert!(ids.iter().all(|&id| codebook.vocab().contains(id)));
        table.texts(&table.decode_cells(&ids))
    };
    let brought = texts(["-5", "1e9", "Paris", "Norway", "7.26"]);
    assert_eq!(brought[0], "1", "the least that there is");
    assert_eq!(brought[2], "", "a city that is not known is no city");
    assert_eq!(brought[3], "Norway");
    assert_eq!(brought[4].parse::<f64>().unwrap() * 2.0 % 1.0, 0.0, "{brought:?}");
    assert!(table.encode_row(&["1".to_owned()]).is_err());
}

#[test]
fn a_codebook_is_kept_and_hostile_ones_are_refused() {
    let codebook = stays(|settings| TableSettings {
        constraints: vec!["start <= end".to_owned()],
        combinations: vec!["city + country".to_owned()],
        ..settings
    });
    let directory = tempfile::tempdir().unwrap();
    codebook.save(directory.path()).unwrap();
    assert_eq!(&TableCodebook::load(directory.path()).unwrap(), of(&codebook).unwrap());
    let json = codebook.to_json();
    let check = |from: &str, to: &str| {
        let bad = json.replacen(from, to, 1);
        assert!(bad != json, "{from}");
        assert!(TableCodebook::from_json(bad.as_bytes()).is_err(), "{to}");
    };
    check("\"low\":0", "\"low\":9223372036854775807");
    check("\"decimals\":0", "\"decimals\":99");
    check("\"step\":1", "\"step\":0");
    check("\"name\":\"end\"", "\"name\":\"start\"");
    check("\"orders\":[[0,1]]", "\"orders\":[[0,77]]");
    check("\"columns\":[2,3]", "\"columns\":[2,3,4]");
    assert!(TableCodebook::from_json(b"{}").is_err() && TableCodebook::from_json(&[0xff]).is_err());
}

#[test]
fn wrong_settings_are_explained() {
    let check = |settings: TableSettings, expect: &str| {
        let rows = (0..50).map(|i| vec![i.to_string(), ["x", "y"][i % 2].to_owned()]);
        let mut fitting = TableFit::new(settings).begin();
        let add = |row| fitting.add(&Document::row(genera_data::Origin::new("test", 0), row));
        let error = rows.map(add).collect::<Result<Vec<()>>>().err();
        let error = error.or_else(|| fitting.finish().err()).expect(expect).to_string();
        assert!(error.contains(expect), "{error}");
    };
    let base = || named(&["a", "b"]);
    let list = |text: &str| vec![text.to_owned()];
    check(TableSettings { types: list("c = number"), ..base() }, "there is no column \"c\"; the columns are a, b");
    check(TableSettings { types: list("a = float"), ..base() }, "known are number, integer");
    check(
        TableSettings { types: list("b = number"), ..base() },
        "column \"b\" cannot be a number: it holds for example",
    );
    check(TableSettings { constraints: list("a <= b"), ..base() }, "expected two numbers or two dates");
    check(TableSettings { constraints: list("a"), ..base() }, "is not of the form");
    check(TableSettings { combinations: list("a + c"), ..base() }, "there is no column \"c\"");
    check(named(&["a"]), "is no row of 1 columns");
}

#[test]
fn a_table_without_anything_to_learn_is_refused() {
    let finish = |n: usize, cell: fn(usize) -> String| {
        let mut fitting = TableFit::new(named(&["a", "b"])).begin();
        let add = |i| fitting.add(&Document::row(genera_data::Origin::new("test", 0), vec![cell(i), String::new()]));
        (0..n).map(add).collect::<Result<Vec<()>>>().unwrap();
        fitting.finish().err().unwrap().to_string()
    };
    assert!(finish(1, |i| i.to_string()).contains("the table has 1 row to learn from"), "one row");
    assert!(finish(500, |_| "same".to_owned()).contains("none of them can be learned"), "constant and missing columns");
    assert!(finish(500, |i| i.to_string()).contains("none of them can be learned"), "row numbers");
}

#[test]
fn a_hundred_thousand_categories_share_tokens() {
    let row = |i: usize| vec![format!("c{}", if i < 60_000 { i % 30_000 } else { 0 }), (i % 7).to_string()];
    let codebook = fitted(named(&["a", "b"]), (0..90_000).map(row));
    let table = of(&codebook).unwrap();
    assert_eq!(table.columns()[0].describe(), "30000 categories");
    assert!(codebook.vocab().size < 1300, "{}", codebook.vocab().size);
    for category in ["c0", "c29999", "c12345"] {
        let row = [category.to_owned(), "3".to_owned()];
        assert_eq!(table.texts(&table.decode_cells(&table.encode_row(&row).unwrap())), row);
    }
}

fn rows_for(codebook: &Codebook, asked: serde_json::Value) -> Result<Vec<serde_json::Value>> {
    let input = Table.read_input(codebook, asked.as_object().unwrap())?;
    let of_seed = |seed: u64| {
        let mut grammar = (input.constraint.as_ref().unwrap())();
        let ids = random_tokens(codebook, grammar.as_mut(), seed)?;
        Table.value(codebook, &ids, seed)
    };
    Ok((0..200).filter_map(of_seed).collect())
}

#[test]
fn rows_may_be_asked_for_as_json() {
    use serde_json::{Value, json};
    let codebook = stays(|settings| settings);
    let check = |asked: Value, holds: &dyn Fn(&Value) -> bool| {
        let rows = rows_for(&codebook, asked.clone()).unwrap();
        assert!(rows.len() > 100, "{asked}: {}", rows.len());
        assert!(rows.iter().all(holds), "{asked}");
    };
    check(json!({}), &|row| row["start"].is_u64() && (row["end"].is_u64() || row["end"].is_null()));
    check(json!({ "where": { "city": "Oslo" } }), &|row| row["city"] == "Oslo");
    check(json!({ "where": { "city": ["Oslo", "Rome"], "end": null } }), &|row| {
        row["city"] != "Bergen" && row["end"].is_null()
    });
    check(json!({ "where": { "price": { "min": 1000.5, "max": 2000 } } }), &|row| {
        (1000.5..=2000.0).contains(&row["price"].as_f64().unwrap())
    });
    check(json!({ "where": { "start": 7 }, "conditions": "country = Italy" }), &|row| {
        row["start"] == 7 && row["country"] == "Italy"
    });
    let refused = |asked: Value, expect: &str| {
        let error = rows_for(&codebook, asked.clone()).unwrap_err().to_string();
        assert!(error.contains(expect), "{asked}: {error}");
    };
    refused(json!({ "where": { "town": "Oslo" } }), "start, end, city, country, price");
    refused(json!({ "where": { "city": "Paris" } }), "Oslo");
    refused(json!({ "where": { "city": { "min": 1 } } }), "never holds an object");
    refused(json!({ "where": { "start": { "least": 1 } } }), "min, max");
    refused(json!({ "where": { "start": { "min": 5, "max": 4 } } }), "no value is from 5 to 4");
    refused(json!({ "where": 1 }), "expected an object");
    refused(json!({ "prompt": "x" }), "where, conditions");
    refused(json!({ "where": { "city": "Oslo" }, "conditions": "city = Rome" }), "no row meets");
}

#[test]
fn the_schema_names_columns_and_values() {
    let schema = Table.input_schema(&stays(|settings| settings));
    let columns = &schema["properties"]["where"]["properties"];
    assert_eq!(columns["city"]["anyOf"][0]["enum"].as_array().unwrap().len(), 3);
    assert_eq!(columns["start"]["anyOf"][0]["type"], "integer");
    assert_eq!(columns["end"]["anyOf"][2]["type"], "null", "gaps may be asked for");
    assert_eq!(columns["price"]["anyOf"][1]["properties"]["min"]["type"], "number");
}

/// The cells of random legal rows, the columns of a table and how they become vectors.
fn vectors(codebook: &Codebook) -> (Vec<Vec<Option<Cell>>>, Features) {
    let table = of(codebook).unwrap();
    let none = Conditions::none(table);
    let row = |seed| table.decode_cells(&random_row(codebook, &none, seed).unwrap());
    let rows: Vec<Vec<Option<Cell>>> = (0..600).map(row).collect();
    let features = Features::fit(table, &rows).unwrap();
    (rows, features)
}

#[test]
fn rows_become_vectors_and_come_back() {
    let codebook = stays(|settings| settings);
    let table = of(&codebook).unwrap();
    let (rows, features) = vectors(&codebook);
    let width: usize = genera_engine::gan::GanConfig {
        parts: features.parts(table),
        d_hidden: 1,
        n_layers: 1,
        d_noise: 1,
        n_packed: 1,
    }
    .n_features();
    let mut n_near = 0;
    for (row, key) in rows.iter().zip(0..) {
        let vector = features.encode(table, row, key);
        assert_eq!(vector.len(), width);
        assert!(vector.iter().all(|value| (-1.0..=1.0).contains(value)));
        let back = features.decode(table, &vector);
        assert_eq!((back[1] == Some(Cell::Missing), back[2], back[3]), (row[1] == Some(Cell::Missing), row[2], row[3]));
        let (Some(Cell::Code(was)), Some(Cell::Code(is))) = (row[0], back[0]) else { panic!("{row:?} {back:?}") };
        n_near += usize::from(was.abs_diff(is) <= 1);
    }
    assert!(n_near > 570, "all but those far from every mode come back: {n_near}");
    let hostile = features.decode(table, &vec![f32::NAN; width]);
    assert!(table.texts(&hostile).len() == 5 && table.texts(&features.decode(table, &[])).len() == 5);
}

#[test]
fn conditions_of_vectors_are_those_of_the_rows_or_what_is_asked() {
    let codebook = stays(|settings| settings);
    let table = of(&codebook).unwrap();
    let (rows, features) = vectors(&codebook);
    let asked = Conditions::parse(table, "city = Rome, start > 5").unwrap();
    let conditions = features.conditions(table, &asked, 30, 1, 0);
    let rome = table.columns()[2].code("Rome").unwrap() as usize;
    assert!(conditions.chunks(5).all(|row| row.iter().sum::<f32>() == 1.0 && row[rome] == 1.0), "{conditions:?}");
    let free = features.conditions(table, &Conditions::none(table), 200, 1, 0);
    assert!((0..5).all(|place| free.chunks(5).any(|row| row[place] == 1.0)), "three cities and two countries");
    let config = genera_engine::gan::GanConfig {
        parts: features.parts(table),
        d_hidden: 4,
        n_layers: 1,
        d_noise: 2,
        n_packed: 2,
    };
    let sampled = SampledRows::new(table, features, rows);
    let batch = sampled.batch(&config, 40, 1, 7);
    assert_eq!(batch, sampled.batch(&config, 40, 1, 7));
    let places: Vec<_> = config.asked().collect();
    let rows = batch.rows.chunks(config.n_features()).zip(batch.conditions.chunks(5));
    for ((row, condition), (choice, category)) in rows.zip(&batch.asked) {
        let (features, conditions) = &places[*choice];
        assert_eq!(row[features.start + *category as usize], 1.0, "the row has what its condition asks for");
        assert_eq!(condition[conditions.start + *category as usize], 1.0);
    }
}

#[test]
fn features_are_kept_and_hostile_ones_are_refused() {
    let codebook = stays(|settings| settings);
    let table = of(&codebook).unwrap();
    let (_, features) = vectors(&codebook);
    let directory = tempfile::tempdir().unwrap();
    features.save(directory.path()).unwrap();
    assert_eq!(Features::load(directory.path(), table).unwrap(), features);
    let json = std::fs::read_to_string(directory.path().join("features.json")).unwrap();
    for (from, to) in
        [("\"deviation\":", "\"deviation\":-"), ("modes", "model"), ("\"categories\":[", "\"categories\":[1,")]
    {
        let bad = json.replacen(from, to, 1);
        assert!(bad != json && Features::from_json(bad.as_bytes(), table).is_err(), "{to}");
    }
    assert!(Features::from_json(b"{\"columns\":[]}", table).is_err());
}

#[test]
fn grids_beside_zero_make_no_other_numbers() {
    let row = |i: usize| vec![format!("{}.5", i % 40), format!("2024-0{}-{:02}", 1 + i % 2 * 3, 1 + i % 4 * 7)];
    let codebook = fitted(named(&["half", "week"]), (0..400).map(row));
    let rows = random_rows(&codebook, &Conditions::parse(of(&codebook).unwrap(), "half >= 3, half < 9").unwrap());
    assert!(rows.len() == 300 && rows.iter().all(|row| row[0].ends_with(".5")), "{:?}", &rows[..3]);
    assert!(rows.iter().all(|row| (3.0..9.0).contains(&row[0].parse::<f64>().unwrap())));
}

#[test]
fn what_is_private_is_learned_from_no_row() {
    let domains = vec!["a = 0..9".to_owned(), "b = x | y".to_owned()];
    let settings = TableSettings { is_private: true, domains, ..named(&["a", "b"]) };
    let rows = |secret: &str| (0..30).map(|i| vec![(i * 1000).to_string(), secret.to_owned()]).collect::<Vec<_>>();
    let one = fitted(settings.clone(), rows("x").into_iter());
    let other = fitted(settings.clone(), rows("secret").into_iter());
    assert_eq!(one.to_json(), other.to_json());
    let table = of(&one).unwrap();
    let brought = table.texts(&table.decode_cells(&table.encode_row(&["99".to_owned(), "secret".to_owned()]).unwrap()));
    assert_eq!(brought, ["9", ""]);
    let check = |settings: TableSettings, expect: &str| {
        let mut fitting = TableFit::new(settings).begin();
        for row in rows("x") {
            fitting.add(&Document::row(genera_data::Origin::new("test", 0), row)).unwrap();
        }
        let error = fitting.finish().err().unwrap().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(TableSettings { domains: vec!["a = 0..9".to_owned()], ..settings.clone() }, "nothing is said of b");
    check(TableSettings { combinations: vec!["a + b".to_owned()], ..settings }, "table.combinations");
}
