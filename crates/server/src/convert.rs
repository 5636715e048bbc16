//! From what a client asks to what the engine takes.

use crate::constraint::{Form, Guarded};
use crate::identifier;
use crate::limits::{self, N_ANSWERS, N_BIASES, N_TOP_LOGPROBS, in_range, whole_in_range};
use crate::model::Served;
use crate::problem::Problem;
use crate::wire::Texts;
use crate::wire::message::{ResponseFormat, StructuredOutputs};
use genera_engine::generate::{Allowed, Constraint, Request, Rules, Sampling};
use genera_tokens::TokenId;
use serde_json::json;
use std::collections::BTreeMap;

/// What all interfaces can ask for, as far as they do.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    /// 0 and −1 for no limit.
    pub top_k: Option<i64>,
    pub min_p: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub repetition_penalty: Option<f64>,
    pub logit_bias: Option<BTreeMap<String, f64>>,
    pub seed: Option<i64>,
    pub n: Option<u64>,
    /// With the name of the field, since interfaces call it differently.
    pub max_tokens: Option<(&'static str, u64)>,
    pub min_tokens: Option<u64>,
    pub no_repeat_ngram_size: Option<u64>,
    pub stop: Option<Texts>,
    pub top_logprobs: u64,
}

/// The wishes that an interface has under our own names: `wishes!(asked: temperature, seed)`.
macro_rules! wishes {
    ($asked:ident: $($field:ident),*) => {
        $crate::convert::Wishes { $($field: $asked.$field,)* ..Default::default() }
    };
}
pub(crate) use wishes;

/// What is to be made of each prompt, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Answers to each prompt.
    pub n: usize,
    /// Texts that end an answer.
    pub stops: Vec<String>,
    max_tokens: usize,
    rules: Rules,
    sampling: Sampling,
    top_logprobs: usize,
}

impl Wishes {
    /// Checks every wish; where there is none, the model's recipe decides.
    ///
    /// # Errors
    /// 400, naming the field and what it may be.
    pub fn plan(self, model: &Served) -> Result<Plan, Problem> {
        let stops = self.stop.clone().unwrap_or_default().0;
        limits::stops("stop", &stops)?;
        let stops = if stops.is_empty() { model.defaults.stop() } else { stops };
        let max_tokens = match self.max_tokens {
            Some((name, n)) => whole_in_range(name, n, 1, u32::MAX.into())?,
            None => usize::MAX,
        };
        Ok(Plan {
            n: whole_in_range("n", self.n.unwrap_or(1), 1, N_ANSWERS as u64)?,
            stops,
            max_tokens,
            rules: self.rules(model, max_tokens)?,
            top_logprobs: whole_in_range("top_logprobs", self.top_logprobs, 0, N_TOP_LOGPROBS as u64)?,
            sampling: self.sampling(model)?,
        })
    }

    fn rules(&self, model: &Served, max_tokens: usize) -> Result<Rules, Problem> {
        let mut rules = model.rules.clone();
        if let Some(n) = self.min_tokens {
            // Of two least lengths the one that is asked for holds.
            (rules.min_tokens, rules.min_len) = (whole_in_range("min_tokens", n, 0, max_tokens as u64)?, 0);
        }
        if let Some(n) = self.no_repeat_ngram_size {
            rules.no_repeat_ngram = whole_in_range("no_repeat_ngram_size", n, 0, u32::MAX.into())?;
        }
        Ok(rules)
    }

    fn sampling(&self, model: &Served) -> Result<Sampling, Problem> {
        let defaults = model.defaults.sampling();
        let or = |value: Option<f64>, default: f32| value.unwrap_or(default.into());
        let penalty = |name: &str, value: Option<f64>, default: f32| in_range(name, or(value, default), -2.0, 2.0);
        let top_k = match self.top_k {
            None => defaults.top_k,
            Some(-1) => 0,
            Some(k) => usize::try_from(k).map_err(|_| {
                Problem::invalid("top_k", format!("`top_k` is {k}; it must be 1 or more, or 0 for all tokens"))
            })?,
        };
        Ok(Sampling {
            logit_bias: self.biases(model)?,
            repetition_penalty: in_range(
                "repetition_penalty",
                or(self.repetition_penalty, defaults.repetition_penalty),
                0.01,
                100.0,
            )?,
            presence_penalty: penalty("presence_penalty", self.presence_penalty, defaults.presence_penalty)?,
            frequency_penalty: penalty("frequency_penalty", self.frequency_penalty, defaults.frequency_penalty)?,
            temperature: in_range("temperature", or(self.temperature, defaults.temperature), 0.0, 2.0)?,
            top_k,
            // Below that the nucleus is the most probable token in any case.
            top_p: in_range("top_p", or(self.top_p, defaults.top_p), 0.0, 1.0)?.max(1e-6),
            min_p: in_range("min_p", or(self.min_p, defaults.min_p), 0.0, 1.0)?,
            seed: self.seed.map_or_else(identifier::random, |seed| seed as u64),
        })
    }

    fn biases(&self, model: &Served) -> Result<Vec<(TokenId, f32)>, Problem> {
        let biases = self.logit_bias.iter().flatten();
        limits::at_most("logit_bias", biases.clone().count(), N_BIASES, "tokens")?;
        let bias = |(token, &bias): (&String, &f64)| {
            let id = token.parse::<TokenId>().ok().filter(|&id| (id as usize) < model.config.vocab_size);
            let id = id.ok_or_else(|| {
                let (shown, last) = (token.chars().take(40).collect::<String>(), model.config.vocab_size - 1);
                Problem::invalid(
                    "logit_bias",
                    format!("`logit_bias`: there is no token {shown}; there are 0 to {last}"),
                )
            })?;
            Ok((id, in_range("logit_bias", bias, -100.0, 100.0)?))
        };
        biases.map(bias).collect()
    }
}

/// What the engine reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// What the encoder reads, where there is one.
    pub source: Option<Vec<TokenId>>,
    /// What the decoder goes on from.
    pub tokens: Vec<TokenId>,
}

impl Prompt {
    /// Tokens of all of it.
    pub fn n_tokens(&self) -> usize {
        self.tokens.len() + self.source.as_ref().map_or(0, Vec::len)
    }
}

impl Plan {
    /// The requests for the answers to one prompt. `form` makes what holds each answer to a form; `param` is the field that
    /// the prompt comes from.
    ///
    /// # Errors
    /// 400 when prompt and answer do not fit the context, or the engine refuses them.
    pub fn requests(
        &self,
        model: &Served,
        prompt: &Prompt,
        form: &dyn Fn() -> Option<Box<dyn Constraint>>,
        param: &str,
    ) -> Result<Vec<Request>, Problem> {
        let room = room_for_answer(model, prompt, param)?;
        let stop = model.stop_ids();
        let request = |sample: usize| {
            let mut constraints: Vec<Box<dyn Constraint>> =
                vec![Box::new(Allowed::except(&model.forbidden, model.config.vocab_size))];
            constraints.extend(form());
            let mut request = Request::new(prompt.tokens.clone());
            request.source = prompt.source.clone();
            request.max_tokens = self.max_tokens.min(room);
            request.stop = stop.clone();
            request.sampling = self.sampling.clone();
            request.rules = self.rules.clone();
            request.sample = sample as u64;
            request.top_logprobs = self.top_logprobs.min(model.config.vocab_size);
            request.constraint = Some(Box::new(Guarded::new(Box::new(constraints))));
            request
        };
        let requests: Vec<Request> = (0..self.n).map(request).collect();
        // They differ by their numbers alone.
        if let Some(first) = requests.first() {
            first.validate(&model.config).map_err(|error| Problem::invalid(param, error.to_string()))?;
        }
        Ok(requests)
    }
}

fn room_for_answer(model: &Served, prompt: &Prompt, param: &str) -> Result<usize, Problem> {
    let (context_len, n) = (model.context_len, prompt.source.as_ref().map_or(prompt.tokens.len(), Vec::len));
    let is_fitting = if prompt.source.is_some() { n <= context_len } else { n < context_len };
    if is_fitting {
        return Ok(context_len - prompt.tokens.len());
    }
    let message = format!(
        "the prompt has {n} tokens, but the context of this model holds {context_len}, of which the answer needs at least \
         1; shorten the prompt"
    );
    Err(Problem { code: Some("context_length_exceeded"), ..Problem::invalid(param, message) })
}

/// What the two ways to ask for a form ask for, with the field that it stands in.
///
/// # Errors
/// 400 when several are asked for at once.
pub fn form_of(
    format: Option<ResponseFormat>,
    outputs: Option<StructuredOutputs>,
) -> Result<Option<(Form, &'static str)>, Problem> {
    let of_format = match format {
        None | Some(ResponseFormat::Text {}) => None,
        Some(ResponseFormat::JsonObject {}) => Some((Form::Schema(json!({ "type": "object" })), "response_format")),
        Some(ResponseFormat::JsonSchema { json_schema }) => {
            let schema = json_schema.schema.unwrap_or_else(|| json!({ "type": "object" }));
            Some((Form::Schema(schema), "response_format.json_schema.schema"))
        }
    };
    let StructuredOutputs { json, regex, choice, grammar } = outputs.unwrap_or_default();
    let forms = [
        of_format,
        json.map(|schema| (Form::Schema(schema), "structured_outputs.json")),
        regex.map(|regex| (Form::Regex(regex), "structured_outputs.regex")),
        choice.map(|texts| (one_of(&texts), "structured_outputs.choice")),
        grammar.map(|grammar| (Form::Lark(grammar), "structured_outputs.grammar")),
    ];
    let mut forms = forms.into_iter().flatten();
    let first = forms.next();
    match forms.next() {
        None => Ok(first),
        Some((_, param)) => {
            Err(Problem::invalid(param, format!("`{param}` is the second form for one answer; ask for one alone")))
        }
    }
}

/// One of several texts, as a grammar.
fn one_of(texts: &[String]) -> Form {
    let quoted: Vec<String> = texts.iter().map(|text| json!(text).to_string()).collect();
    Form::Lark(format!("start: {}", quoted.join(" | ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_at_a_time() {
        let outputs = |regex: &str| Some(StructuredOutputs { regex: Some(regex.to_owned()), ..Default::default() });
        assert_eq!(form_of(None, None).unwrap(), None);
        assert_eq!(form_of(Some(ResponseFormat::Text {}), None).unwrap(), None);
        let regex = form_of(None, outputs("a")).unwrap().unwrap();
        assert_eq!(regex, (Form::Regex("a".to_owned()), "structured_outputs.regex"));
        let both = form_of(Some(ResponseFormat::JsonObject {}), outputs("a")).unwrap_err();
        assert_eq!(both.param.as_deref(), Some("structured_outputs.regex"));
        assert_eq!(one_of(&["a\"".to_owned(), "b".to_owned()]), Form::Lark("start: \"a\\\"\" | \"b\"".to_owned()));
    }
}
