//! The special tokens that stand around a text, as the `post_processor` of a `tokenizer.json` says.

use super::file::File;
use super::json::role_of;
use crate::{Error, Result};
use genera_tokens::TokenId;
use serde_json::{Value, json};

/// Special tokens around one text, by name and id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) before: Vec<(String, TokenId)>,
    pub(super) after: Vec<(String, TokenId)>,
    /// The end token, where only a setting says that it stands behind every text.
    pub(super) end: Option<TokenId>,
}

impl Frame {
    /// What a file puts around a text. Where it has no such stage, the configuration of a model like BERT names both tokens.
    ///
    /// # Errors
    /// When a token is not in the vocabulary.
    pub(super) fn of(file: &File, config: &Value) -> Result<Self> {
        let mut frame = match &file.post_processor {
            Value::Null => Self::of_class(file, config),
            stage => Self::of_stage(stage),
        };
        if config["add_eos_token"] == true && !frame.closes() {
            frame.end = named(file, config, "eos_token").map(|(_, id)| id);
        }
        let largest = file.largest_id();
        match frame.before.iter().chain(&frame.after).find(|(_, id)| Some(*id) > largest) {
            Some((name, id)) => Err(Error::tokenizer(format!(
                "its post_processor puts the token '{name}' with the id {id} around texts, which is beyond its vocabulary"
            ))),
            None => Ok(frame),
        }
    }

    /// The classes of models like BERT do so by themselves.
    fn of_class(file: &File, config: &Value) -> Self {
        const CLASSES: [&str; 6] = ["Bert", "DistilBert", "Electra", "MPNet", "Roberta", "Bart"];
        let class = config["tokenizer_class"].as_str().unwrap_or_default();
        let name = class.strip_suffix("Fast").unwrap_or(class).strip_suffix("Tokenizer");
        let has_own = name.is_some_and(|name| CLASSES.contains(&name));
        match (named(file, config, "cls_token"), named(file, config, "sep_token")) {
            (Some(before), Some(after)) if has_own => {
                Self { before: vec![before], after: vec![after], ..Self::default() }
            }
            _ => Self::default(),
        }
    }

    fn of_stage(stage: &Value) -> Self {
        match stage["type"].as_str() {
            Some("TemplateProcessing") => Self::of_template(stage),
            Some("RobertaProcessing" | "BertProcessing") => {
                let token = |role: &str| Some((stage[role][0].as_str()?.to_owned(), id(&stage[role][1])?));
                let [before, after] = ["cls", "sep"].map(|role| token(role).into_iter().collect());
                Self { before, after, end: None }
            }
            Some("Sequence") => {
                let stages = stage["processors"].as_array().map(Vec::as_slice).unwrap_or_default();
                stages.iter().map(Self::of_stage).fold(Self::default(), |inner, outer| Self {
                    before: [outer.before, inner.before].concat(),
                    after: [inner.after, outer.after].concat(),
                    end: None,
                })
            }
            _ => Self::default(),
        }
    }

    fn of_template(stage: &Value) -> Self {
        let pieces = stage["single"].as_array().map(Vec::as_slice).unwrap_or_default();
        let at = pieces.iter().position(|piece| !piece["Sequence"].is_null()).unwrap_or(pieces.len());
        let (before, after) = pieces.split_at(at);
        let [before, after] = [before, after].map(|pieces| pieces.iter().flat_map(|piece| of_piece(stage, piece)));
        Self { before: before.collect(), after: after.collect(), end: None }
    }

    /// Whether it says where a text ends.
    pub(super) fn closes(&self) -> bool {
        !self.after.is_empty()
    }

    /// What stands behind a text, be it by a setting.
    pub(super) fn closing(&self) -> Vec<TokenId> {
        self.after.iter().map(|(_, id)| *id).chain(self.end).collect()
    }

    /// `ids` with what stands around them.
    pub(super) fn around(&self, ids: Vec<TokenId>) -> Vec<TokenId> {
        let [before, after] = [&self.before, &self.after].map(|tokens| tokens.iter().map(|(_, id)| *id));
        before.chain(ids).chain(after).collect()
    }

    /// The stage that puts these tokens around a text, and around each of two.
    pub(super) fn stage(&self) -> Value {
        let special = |tokens: &[(String, TokenId)], part: u32| -> Vec<Value> {
            tokens.iter().map(|(name, _)| json!({ "SpecialToken": { "id": name, "type_id": part } })).collect()
        };
        let text = |name: &str, part: u32| {
            let sequence = json!({ "Sequence": { "id": name, "type_id": part } });
            [special(&self.before, part), vec![sequence], special(&self.after, part)].concat()
        };
        let tokens = self.before.iter().chain(&self.after);
        let special_tokens: serde_json::Map<String, Value> =
            tokens.map(|(name, id)| (name.clone(), json!({ "id": name, "ids": [id], "tokens": [name] }))).collect();
        let pair = [text("A", 0), text("B", 1)].concat();
        json!({
            "type": "TemplateProcessing", "single": text("A", 0), "pair": pair,
            "special_tokens": special_tokens,
        })
    }
}

/// The token of a role.
fn named(file: &File, config: &Value, role: &str) -> Option<(String, TokenId)> {
    let name = role_of(config, role)?;
    Some((name.to_owned(), file.id_of(name)?))
}

fn id(value: &Value) -> Option<TokenId> {
    value.as_u64().and_then(|id| TokenId::try_from(id).ok())
}

/// The tokens that one piece of a template stands for; none where it stands for the text.
fn of_piece(stage: &Value, piece: &Value) -> Vec<(String, TokenId)> {
    let token = piece["SpecialToken"]["id"].as_str().map(|name| &stage["special_tokens"][name]);
    let list = |field: &str| token.and_then(|token| token[field].as_array()).map(Vec::as_slice).unwrap_or_default();
    let pairs = list("tokens").iter().zip(list("ids"));
    pairs.filter_map(|(name, number)| Some((name.as_str()?.to_owned(), id(number)?))).collect()
}
