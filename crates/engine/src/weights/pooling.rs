//! How texts become vectors, in the files that the sentence-transformers library reads beside a model.
//!
//! # Source
//! sentence-transformers, `sentence_transformers/models/Pooling.py` and `SentenceTransformer.py`.

use super::config_json::{read_json, read_object};
use super::export::{write_file, write_json};
use crate::disk;
use crate::error::{Error, Result};
use crate::model::{Pooling, Taken};
use serde_json::{Map, Value, json};
use std::path::{Component, Path};

const MODULES: &str = "modules.json";
const OF_TEXTS: &str = "sentence_bert_config.json";
const DIRECTORY: &str = "1_Pooling";
/// The files that are written.
pub(super) const FILES: [&str; 3] = ["1_Pooling/config.json", OF_TEXTS, MODULES];
/// Most bytes of a list of modules.
const MAX_BYTES: u64 = 1 << 16;
/// Ways of pooling, and what begins their flags and names them.
const MODES: [(&str, &str, Taken); 4] = [
    ("pooling_mode_cls_token", "cls", Taken::First),
    ("pooling_mode_mean_tokens", "mean", Taken::Mean),
    ("pooling_mode_max_tokens", "max", Taken::Largest),
    ("pooling_mode_lasttoken", "lasttoken", Taken::Last),
];

/// What a directory says; none where it is not one of a model of sentences.
///
/// # Errors
/// When a file cannot be read or is malformed. What is only not computed here becomes [`Taken::Unknown`].
pub(super) fn read(dir: &Path) -> Result<Option<Pooling>> {
    let path = dir.join(MODULES);
    let Some(modules) = read_json::<Vec<Map<String, Value>>>(&path, MAX_BYTES)? else { return Ok(None) };
    let texts = read_object(&dir.join(OF_TEXTS))?.unwrap_or_default();
    let text =
        |module: &Map<String, Value>, key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kinds: Vec<String> =
        modules.iter().map(|module| text(module, "type").rsplit('.').next().unwrap_or_default().to_owned()).collect();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let (place, normalizes) = match kinds[..] {
        ["Transformer", "Pooling"] => (text(&modules[1], "path"), false),
        ["Transformer", "Pooling", "Normalize"] => (text(&modules[1], "path"), true),
        _ => {
            let taken = Taken::Unknown(format!("the modules {}", kinds.join(", ")));
            return Ok(Some(Pooling { taken, normalizes: true, texts }));
        }
    };
    if !Path::new(&place).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(Error::file(&path, format!("names the folder '{place}'; expected one beside it")));
    }
    let config = dir.join(&place).join("config.json");
    let said = read_object(&config)?.ok_or_else(|| {
        Error::file(&config, format!("is missing, but {MODULES} names it; fetch it, or remove {MODULES}"))
    })?;
    Ok(Some(Pooling { taken: taken(&said), normalizes, texts }))
}

/// As the settings of pooling say.
fn taken(said: &Map<String, Value>) -> Taken {
    if let Some(mode) = said.get("pooling_mode").filter(|mode| !mode.is_null()) {
        return of_mode(mode);
    }
    let is_set = |key: &&String| key.starts_with("pooling_mode_") && said[*key] == true;
    let flags: Vec<&str> = said.keys().filter(is_set).map(String::as_str).collect();
    match flags[..] {
        // What the library does unless told otherwise.
        [] => Taken::Mean,
        [flag] => {
            let known = MODES.into_iter().find(|(known, ..)| *known == flag);
            known.map_or_else(|| Taken::Unknown(flag.to_owned()), |(.., taken)| taken)
        }
        _ => Taken::Unknown(flags.join(" together with ")),
    }
}

/// As a setting says that names its ways: the library writes one or a list.
fn of_mode(mode: &Value) -> Taken {
    let names = mode.as_array().map_or_else(|| std::slice::from_ref(mode), Vec::as_slice);
    let names: Vec<String> =
        names.iter().map(|name| name.as_str().map_or_else(|| name.to_string(), str::to_owned)).collect();
    match &names[..] {
        [] => Taken::Unknown("an empty pooling_mode".to_owned()),
        [name] => {
            let known = MODES.into_iter().find(|(_, known, _)| known == name);
            known.map_or_else(|| Taken::Unknown(format!("pooling '{name}'")), |(.., taken)| taken)
        }
        _ => Taken::Unknown(names.join(" together with ")),
    }
}

/// Writes the same files for vectors of `width` numbers. Where what is taken is not known there are none, and a note of that.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn write(pooling: &Pooling, width: usize, dir: &Path) -> Result<Option<String>> {
    if let Taken::Unknown(_) = pooling.taken {
        return Ok(Some(lost(&pooling.taken)));
    }
    let folder = dir.join(DIRECTORY);
    disk::make_dir(&folder).map_err(|source| Error::io("cannot create", &folder, source))?;
    let flags = MODES.into_iter().map(|(flag, _, taken)| (flag.to_owned(), json!(taken == pooling.taken)));
    let mut said: Map<String, Value> = flags.collect();
    for other in ["pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens"] {
        said.insert(other.to_owned(), json!(false));
    }
    said.insert("word_embedding_dimension".to_owned(), json!(width));
    write_json(&folder.join("config.json"), &said)?;
    disk::settle(&folder);
    write_json(&dir.join(OF_TEXTS), &pooling.texts)?;
    let module = |i: usize, path: &str, kind: &str| json!({ "idx": i, "name": i.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}") });
    let mut modules = vec![module(0, "", "Transformer"), module(1, DIRECTORY, "Pooling")];
    if pooling.normalizes {
        modules.push(module(2, "2_Normalize", "Normalize"));
    }
    write_file(&dir.join(MODULES), |out| {
        serde_json::to_writer_pretty(&mut *out, &modules)?;
        out.write_all(b"\n")
    })?;
    Ok(None)
}

/// What to say where a copy cannot hold how texts become vectors.
fn lost(taken: &Taken) -> String {
    let known = MODES.iter().find(|(.., known)| known == taken).map(|(_, name, _)| *name);
    let name = if let Taken::Unknown(name) = taken { name } else { known.unwrap_or_default() };
    format!("how texts become vectors ({name}) cannot be written; what reads the copy makes means")
}

/// The numbers of `pooling_type` in GGUF files. llama.cpp scales vectors to length 1.
const GGUF: [(u64, Taken); 3] = [(1, Taken::Mean), (2, Taken::First), (3, Taken::Last)];

/// What a GGUF file says by a number, of which 0 is nothing.
pub(super) fn of_gguf(number: u64) -> Option<Pooling> {
    let known = GGUF.into_iter().find(|(known, _)| *known == number).map(|(_, taken)| taken);
    let taken = known.unwrap_or_else(|| Taken::Unknown(format!("pooling_type {number}")));
    (number > 0).then(|| Pooling { taken, ..Pooling::default() })
}

/// The number for a GGUF file, and what to say where it is not all.
pub(super) fn to_gguf(pooling: &Pooling) -> (Option<u64>, Option<String>) {
    let Some((number, _)) = GGUF.iter().find(|(_, taken)| *taken == pooling.taken) else {
        return (None, Some(lost(&pooling.taken)));
    };
    let scaled =
        "vectors of texts keep their length, which a GGUF file cannot say; what reads the copy scales them to length 1";
    (Some(*number), (!pooling.normalizes).then(|| scaled.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read_files(files: &[(&str, Value)]) -> Result<Option<Pooling>> {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value.to_string()).unwrap();
        }
        read(dir.path())
    }

    fn modules(kinds: &[&str]) -> (&'static str, Value) {
        let module = |(i, kind): (usize, &&str)| {
            let path = if *kind == "Transformer" { String::new() } else { format!("{i}_{kind}") };
            json!({ "idx": i, "name": i.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}") })
        };
        (MODULES, kinds.iter().enumerate().map(module).collect())
    }

    #[test]
    fn what_is_said_is_read_and_written() {
        let all = modules(&["Transformer", "Pooling", "Normalize"]);
        let plain = modules(&["Transformer", "Pooling"]);
        let check = |modules: &(&str, Value), said: Value, taken: Taken, normalizes: bool| {
            let texts = json!({ "max_seq_length": 512, "do_lower_case": false });
            let files = [(modules.0, modules.1.clone()), ("1_Pooling/config.json", said), (OF_TEXTS, texts.clone())];
            let pooling = read_files(&files).unwrap().unwrap();
            assert_eq!((&pooling.taken, pooling.normalizes), (&taken, normalizes), "{files:?}");
            assert_eq!(Value::Object(pooling.texts.clone()), texts);
            let dir = tempfile::tempdir().unwrap();
            let note = write(&pooling, 8, dir.path()).unwrap();
            if let Taken::Unknown(name) = &taken {
                let expected = format!("how texts become vectors ({name}) cannot be written");
                assert!(note.is_some_and(|note| note.starts_with(&expected)), "{name}");
                assert_eq!(read(dir.path()).unwrap(), None);
            } else {
                assert_eq!((read(dir.path()).unwrap(), note), (Some(pooling), None));
            }
        };
        let bge = json!({ "word_embedding_dimension": 384, "pooling_mode_cls_token": true,
            "pooling_mode_mean_tokens": false, "pooling_mode_max_tokens": false });
        check(&all, bge.clone(), Taken::First, true);
        check(&plain, bge, Taken::First, false);
        check(&all, json!({ "pooling_mode_mean_tokens": true }), Taken::Mean, true);
        check(&all, json!({}), Taken::Mean, true);
        check(&all, json!({ "pooling_mode_max_tokens": true }), Taken::Largest, true);
        check(&all, json!({ "pooling_mode": "lasttoken" }), Taken::Last, true);
        check(&all, json!({ "pooling_mode": ["cls"] }), Taken::First, true);
        check(&all, json!({ "pooling_mode": null, "pooling_mode_cls_token": true }), Taken::First, true);
        for (mode, expected) in [
            (json!(["cls", "mean"]), "cls together with mean"),
            (json!([]), "an empty pooling_mode"),
            (json!(["best"]), "pooling 'best'"),
            (json!(2), "pooling '2'"),
        ] {
            check(&all, json!({ "pooling_mode": mode }), Taken::Unknown(expected.to_owned()), true);
        }
        let both = json!({ "pooling_mode_cls_token": true, "pooling_mode_max_tokens": true });
        let both_names = "pooling_mode_cls_token together with pooling_mode_max_tokens";
        check(&all, both, Taken::Unknown(both_names.to_owned()), true);
        let roots = "pooling_mode_mean_sqrt_len_tokens";
        check(&all, json!({ roots: true }), Taken::Unknown(roots.to_owned()), true);
        check(
            &modules(&["Transformer", "Pooling", "Dense"]),
            json!({}),
            Taken::Unknown("the modules Transformer, Pooling, Dense".to_owned()),
            true,
        );
        assert_eq!(read_files(&[]).unwrap(), None);
        let missing = read_files(&[all]).unwrap_err().to_string();
        assert!(missing.contains("is missing, but modules.json names it"), "{missing}");
        let kinds = ["x.Transformer", "x.Pooling"].map(|kind| json!({ "path": "../..", "type": kind }));
        let outside = read_files(&[(MODULES, json!(kinds))]).unwrap_err().to_string();
        assert!(outside.contains("expected one beside it"), "{outside}");
    }
}
