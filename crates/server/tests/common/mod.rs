//! A server with a tiny random model, and a client of a few lines.

#![allow(dead_code, reason = "each test binary uses its part")]

use genera_data::tokenize::{Bytes, Templated};
use genera_data::{ChatTemplate, SpecialTokens};
use genera_engine::config::{
    Attention, Embedding, FeedForward, Head, ModelConfig, Norm, Placement, Position, QkNorm, Rotary, ScoreScale, Shape,
    Stack,
};
use genera_engine::generate::Rules;
use genera_engine::model::{Transformer, initial_params};
use genera_engine::recipe::GenerateRecipe;
use genera_engine::weights::SpecialIds;
use genera_modality::table::{DEMO_COLUMNS, TableSettings};
use genera_modality::{Codebook, Modality, Table, Text};
use genera_server::{Model, Settings};
use genera_tensor::{Activation, DType, Device};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock, mpsc};

pub const CONTEXT_LEN: usize = 512;
const TEMPLATE: &str = "{% for t in tools %}{{ t | tojson }}<tool_call>{% endfor %}{% for m in messages %}<s>{{ m.role }}:\
                        {{ m.content }}{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}</s>{% endfor %}\
                        {% if add_generation_prompt %}<s>assistant:{% endif %}";

fn config(vocab_size: usize) -> ModelConfig {
    let attention = Attention {
        n_heads: 2,
        n_kv_heads: 1,
        d_head: 8,
        qkv_bias: false,
        out_bias: false,
        scale: ScoreScale::InverseSqrt,
        window: None,
        qk_norm: QkNorm::None,
        score_cap: None,
    };
    let feed_forward = FeedForward::Gated { activation: Activation::Silu, d_ff: 24, bias: false };
    ModelConfig {
        shape: Shape::DecoderOnly(Stack { n_layers: 2, attention, feed_forward }),
        d_model: 16,
        vocab_size,
        context_len: CONTEXT_LEN,
        position: Position::Rotary(Rotary::plain(100.0, 8)),
        norm: Norm::Rms { eps: 1e-5 },
        placement: Placement::Pre,
        embedding: Embedding { scaled: false, norm: false, n_segment_types: 0, per_stack: false, width: None },
        head: Head::Untied,
        logit_cap: None,
    }
}

/// A model whose answers are noise, but always the same noise.
pub fn model() -> Model {
    let template = ChatTemplate::new(TEMPLATE, Some("<s>".to_owned()), Some("</s>".to_owned()));
    let codebook: Codebook = Arc::new(Templated::new(Arc::new(Bytes::new(&SpecialTokens::standard())), template));
    random_model("tiny", codebook, &Text)
}

/// A model that makes rows of a small table: any legal ones.
pub fn table_model() -> Model {
    let columns = DEMO_COLUMNS.map(str::to_owned).to_vec();
    let table = TableSettings { columns, ..TableSettings::default() };
    let fit = Table.fit(&genera_modality::Settings { table, ..Default::default() });
    let mut fitting = fit.unwrap().begin();
    (0..500).for_each(|index| fitting.add(&(Table.demos()[0].make)(1, index)).unwrap());
    random_model("people", fitting.finish().unwrap(), &Table)
}

fn random_model(name: &str, codebook: Codebook, modality: &'static dyn Modality) -> Model {
    let (config, device) = (config(codebook.vocab().size), Device::cpu(2));
    let mut transformer = Transformer::new(config.clone(), initial_params(&config, 5, DType::F32, &device), &device);
    transformer.params_mut().pack();
    let special = SpecialIds::of(&codebook.vocab().special, &config);
    Model {
        name: name.to_owned(),
        transformer,
        codebook,
        modality,
        special,
        is_published: false,
        defaults: GenerateRecipe::default(),
        rules: Rules::default(),
        created: 1,
        about: Vec::new(),
    }
}

/// The address of a server that all tests share.
pub fn server() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| start(Settings::new(([127, 0, 0, 1], 0).into())))
}

/// Starts a server, which ends with the program.
pub fn start(settings: Settings) -> SocketAddr {
    start_with(settings, vec![model()])
}

/// Starts a server of these models, which ends with the program.
pub fn start_with(settings: Settings, models: Vec<Model>) -> SocketAddr {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let listener = genera_server::bind(&settings).unwrap();
        genera_server::serve(listener, models, settings, move |address| sender.send(address).unwrap()).unwrap();
    });
    receiver.recv().unwrap()
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }

    /// The events of a stream; the last is `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let data: Vec<&str> = self.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let (last, events) = data.split_last().expect("a stream has events");
        assert_eq!(*last, "[DONE]", "{}", self.body);
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }
}

/// Opens a connection and sends a request with a body of JSON.
pub fn send(address: SocketAddr, path: &str, body: &str) -> TcpStream {
    let length = body.len();
    raw(
        address,
        &format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        ),
    )
}

pub fn raw(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

/// Reads the answer to the end.
pub fn receive(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let is_chunked = head.contains("transfer-encoding: chunked");
    let body = if is_chunked { unchunked(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let n = usize::from_str_radix(size, 16).unwrap();
        body += &after[..n];
        rest = after[n..].trim_start_matches("\r\n");
    }
    body
}

pub fn post(path: &str, body: &Value) -> Answer {
    receive(send(server(), path, &body.to_string()))
}

pub fn get(path: &str) -> Answer {
    let address = server();
    receive(raw(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")))
}
