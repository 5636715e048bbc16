//! Which files of a repository a model needs.

use super::listing::{Listing, RemoteFile};
use crate::failure::{Failure, Outcome};
use genera_engine::weights::gguf::PartName;

/// Files beside the weights that are read where they are: configuration, tokenizers, chat templates, and how a
/// text becomes one vector.
const BESIDE: [&str; 21] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "source.spm",
    "target.spm",
    "chat_template.jinja",
    "chat_template.json",
    "processor_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "adapter_config.json",
    "adapter_model.safetensors",
];

/// The card and the terms, which go with what is made of the model.
const PAPERS: [&str; 5] = ["README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE"];

/// The stems and endings of files of weights, the best first.
const WEIGHTS: [(&str, &str); 2] = [("model", "safetensors"), ("pytorch_model", "bin")];

/// The files to fetch: the one that is named, with the other parts of its model, or those of the model.
///
/// # Errors
/// When there is no such file, or there are no weights that can be read.
pub fn select<'l>(listing: &'l Listing, file: Option<&str>) -> Outcome<Vec<&'l RemoteFile>> {
    if let Some(path) = file {
        let found = listing
            .find(path)
            .ok_or_else(|| Failure::new(format!("has no file '{path}'; {}", what_there_is(listing))))?;
        return with_parts(listing, found);
    }
    let beside = BESIDE.iter().chain(&PAPERS).filter_map(|path| listing.find(path));
    if let Some(weights) = WEIGHTS.iter().map(|kind| weights(listing, kind)).find(|weights| !weights.is_empty()) {
        return Ok(beside.chain(weights).collect());
    }
    match listing.gguf().as_slice() {
        [only] => with_parts(listing, only),
        [] if listing.find("adapter_config.json").is_some() => Ok(beside.collect()),
        [] => Err(Failure::new(format!(
            "has no weights that can be read here (model.safetensors, pytorch_model.bin or GGUF); {}",
            what_there_is(listing)
        ))),
        [..] => Err(Failure::new(format!(
            "has several GGUF files; choose one with --file NAME: {}",
            what_there_is(listing)
        ))),
    }
}

/// The files of the model that a GGUF file is of.
fn with_parts<'l>(listing: &'l Listing, file: &'l RemoteFile) -> Outcome<Vec<&'l RemoteFile>> {
    let Some(name) = PartName::of(&file.path) else { return Ok(vec![file]) };
    let part = |path: String| {
        listing
            .find(&path)
            .ok_or_else(|| Failure::new(format!("has {} without '{path}', so the model cannot be read", file.path)))
    };
    name.all().map(part).collect()
}

/// Whether a file is the card of a model or holds its terms, without which the model works as well.
pub fn is_paper(file: &RemoteFile) -> bool {
    PAPERS.contains(&file.path.as_str())
}

/// One file of weights, or several with their index.
fn weights<'l>(listing: &'l Listing, (stem, ending): &(&str, &str)) -> Vec<&'l RemoteFile> {
    if let Some(single) = listing.find(&format!("{stem}.{ending}")) {
        return vec![single];
    }
    let Some(index) = listing.find(&format!("{stem}.{ending}.index.json")) else { return Vec::new() };
    let is_part = |file: &&RemoteFile| {
        let numbers = file.path.strip_prefix(stem).and_then(|rest| rest.strip_suffix(&format!(".{ending}")));
        numbers.is_some_and(|numbers| numbers.starts_with('-') && !numbers.contains('/'))
    };
    std::iter::once(index).chain(listing.files.iter().filter(is_part)).collect()
}

/// The names of files, those of weights if there are any.
fn what_there_is(listing: &Listing) -> String {
    const MOST: usize = 12;
    let gguf = listing.gguf();
    let files = if gguf.is_empty() { listing.files.iter().collect() } else { gguf };
    let names: Vec<&str> = files.iter().take(MOST).map(|file| file.path.as_str()).collect();
    let more = if files.len() > MOST { format!(" and {} more", files.len() - MOST) } else { String::new() };
    if names.is_empty() { "it is empty".to_owned() } else { format!("it has {}{more}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::super::checksum::Checksum;
    use super::*;

    fn listing(paths: &[&str]) -> Listing {
        let file = |path: &&str| RemoteFile {
            path: (*path).to_owned(),
            n_bytes: 1,
            checksum: Checksum::GitBlob("0".repeat(40)),
        };
        Listing { commit: "0".repeat(40), files: paths.iter().map(file).collect() }
    }

    fn check(paths: &[&str], file: Option<&str>, expect: &[&str]) {
        let listing = listing(paths);
        let selected: Vec<&str> = select(&listing, file).unwrap().iter().map(|file| file.path.as_str()).collect();
        assert_eq!(selected, expect);
    }

    #[test]
    fn one_set_of_weights_is_chosen() {
        let all =
            ["tf_model.h5", "pytorch_model.bin", "model.safetensors", "config.json", "onnx/model.onnx", "README.md"];
        check(&all, None, &["config.json", "README.md", "model.safetensors"]);
        check(&["pytorch_model.bin", "config.json", "flax_model.msgpack"], None, &["config.json", "pytorch_model.bin"]);
        let index = "model.safetensors.index.json";
        let parts =
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", index, "consolidated.safetensors"];
        check(&parts, None, &[index, parts[0], parts[1]]);
        check(&["a.gguf", "README.md"], None, &["a.gguf"]);
        let pooling = ["modules.json", "1_Pooling/config.json"];
        let sentences = ["2_Normalize/config.json", pooling[1], "model.safetensors", pooling[0]];
        check(&sentences, None, &[pooling[0], pooling[1], "model.safetensors"]);
        check(&["a.gguf", "q/b.gguf"], Some("q/b.gguf"), &["q/b.gguf"]);
        let parts = ["q/a-00001-of-00002.gguf", "q/a-00002-of-00002.gguf"];
        check(&parts, None, &parts);
        check(&[parts[1], "b.gguf", parts[0]], Some(parts[0]), &parts);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let refusal = |paths: &[&str], file| format!("{:?}", select(&listing(paths), file).unwrap_err());
        assert!(refusal(&["a.gguf", "b.gguf"], None).contains("--file NAME: it has a.gguf, b.gguf"));
        assert!(refusal(&["a.gguf", "b.gguf"], Some("c.gguf")).contains("no file 'c.gguf'; it has a.gguf"));
        assert!(refusal(&["tf_model.h5"], None).contains("it has tf_model.h5"));
        let part = "a-00001-of-00002.gguf";
        assert!(refusal(&[part], None).contains("without 'a-00002-of-00002.gguf'"));
        assert!(refusal(&[part, "a-00002-of-00002.gguf", "b.gguf"], None).contains(&format!("it has {part}, b.gguf")));
        assert!(refusal(&[], None).contains("it is empty"));
    }
}
