//! What the fuzz targets start from: whole files, of a small run, of adapters to it, and written here.

use Part::{Archive, Bytes, Of};
use std::fs;
use std::path::Path;

/// The targets, and what each starts from: the parts of an input, one behind the other.
pub const TARGETS: [(&str, &[&[Part]]); 16] = [
    ("recipe", &[&[Of("first/recipe.toml")]]),
    ("shard", &[&[Of("first/data/train.shard")], &[Of("first/data/validation.shard")]]),
    ("checkpoint", &[&[Of("first/checkpoints/step-000002/manifest.json")]]),
    ("tokenizer", &[&[Bytes(b"\0"), Of("first/data/tokenizer.json"), Bytes(b"\0a cat sat")]]),
    (
        "safetensors",
        &[&[Of("first/checkpoints/step-000002/model.safetensors")], &[Of("first/model/model.safetensors")]],
    ),
    ("gguf", &[&[Of("model.gguf")], &[Of("small.gguf")]]),
    (
        "chat_template",
        &[
            &[Bytes(b"\x01"), Bytes(CHATML), Bytes(CONVERSATION)],
            &[Bytes(b"\x01"), Bytes(HEADERS), Bytes(CONVERSATION)],
            &[Bytes(b"\0"), Bytes(MACROS), Bytes(CONVERSATION)],
        ],
    ),
    (
        "torch",
        &[
            &[Archive(&[
                ("m/data.pkl", &[Bytes(TABLE[0]), Bytes(TABLE[1])]),
                ("m/version", &[Bytes(b"3\n")]),
                ("m/data/0", &[Bytes(NUMBERS)]),
            ])],
            &[Bytes(LEGACY[0]), Bytes(TABLE[0]), Bytes(b"N"), Bytes(TABLE[1]), Bytes(LEGACY[1]), Bytes(NUMBERS)],
        ],
    ),
    (
        "adapter",
        &[&[Of("tuned/adapter/adapter_config.json"), Bytes(b"\0"), Of("tuned/adapter/adapter_model.safetensors")]],
    ),
    ("messages", &[]),
    ("table", &[]),
    ("wire", &[]),
    ("gan", &[]),
    ("molecule", &[]),
    ("structures", &[]),
    ("pickled", &[]),
];

/// A question and an answer, each behind a zero.
const CONVERSATION: &[u8] = b"\0Where is the cat?\n\0 It sat <b>there</b>. ";

/// A template as those that write roles between marks.
const CHATML: &[u8] = br"{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// One that knows the date, and takes a system message out of the list.
const HEADERS: &[u8] = br"{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set system = messages[0].content | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = 'Today is ' ~ strftime_now('%d %b %Y') %}
{%- endif %}
{{- '<|header|>system<|end|>\n\n' ~ system ~ '<|eot|>' }}
{%- for message in messages if message.role in ['user', 'assistant'] %}
    {{- '<|header|>%s<|end|>\n\n' | format(message.role) }}{{ message.content.strip() + '<|eot|>' }}
{%- endfor %}
{{- '<|header|>assistant<|end|>\n\n' if add_generation_prompt }}";

/// One with a macro and a count, which refuses what it cannot write.
const MACROS: &[u8] = br"{%- macro turn(role, text='') %}<{{ role | upper }}> {{ text | replace('\n', ' ') }}{% endmacro %}
{%- set seen = namespace(n=0) %}
{%- if tools is defined and tools %}{{ tools | tojson(indent=2) }}{% endif %}
{%- for message in messages | rejectattr('role', 'equalto', 'tool') %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
    {%- set seen.n = seen.n + 1 %}
    {{- turn(message.role, message.content.split('</think>')[-1]) ~ (eos_token if loop.last else '\n') }}
{%- endfor %}
{{- seen.n ~ ' turns of ' ~ messages | map(attribute='role') | unique | join(', ') }}";

/// What `torch.save` pickles of a tensor of 2 by 2, up to the place and from the place where it had one value more before 2020.
const TABLE: [&[u8]; 2] = [
    b"\x80\x02ccollections\nOrderedDict\nq\0)Rq\x01(X\x06\0\0\0weightctorch._utils\n_rebuild_tensor_v2\n\
      ((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04",
    b"tQK\0K\x02K\x02\x86K\x02K\x01\x86\x89h\0)RtRu.",
];

/// The storage of the tensor.
const NUMBERS: &[u8] = b"\0\0\x80?\0\0\0@\0\0@@\0\0\x80@";

/// What stood before the table and before the numbers, before 2020.
const LEGACY: [&[u8]; 2] = [
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}(X\x0d\0\0\0little_endian\x88u.",
    b"\x80\x02](X\x01\0\0\x000e.\x04\0\0\0\0\0\0\0",
];

/// What an input is made of.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// A file of the runs.
    Of(&'static str),
    /// These bytes.
    Bytes(&'static [u8]),
    /// A ZIP archive of such members, stored as they are.
    Archive(&'static [(&'static str, &'static [Part])]),
}

impl Part {
    /// The bytes of parts, one behind the other.
    ///
    /// # Errors
    /// When a file of the runs, which lie in `runs`, cannot be read.
    pub fn joined(parts: &[Self], runs: &Path) -> Result<Vec<u8>, String> {
        let contents: Result<Vec<Vec<u8>>, String> = parts.iter().map(|part| part.content(runs)).collect();
        Ok(contents?.concat())
    }

    fn content(&self, runs: &Path) -> Result<Vec<u8>, String> {
        match self {
            Of(file) => fs::read(runs.join(file)).map_err(|error| format!("{file}: {error}")),
            Bytes(bytes) => Ok(bytes.to_vec()),
            Archive(members) => {
                let member = |(name, parts): &(&'static str, &[Self])| Ok((*name, Self::joined(parts, runs)?));
                Ok(archive(&members.iter().map(member).collect::<Result<Vec<_>, String>>()?))
            }
        }
    }
}

/// A ZIP archive without checksums, which no reader here looks at.
fn archive(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let [at, n] = [bytes.len(), content.len()].map(|n| (n as u32).to_le_bytes());
        // Flags, method, time and checksum; the sizes; the lengths of the name and of further fields.
        let facts = [&[0; 12][..], &n, &n, &(name.len() as u16).to_le_bytes(), &[0; 2]].concat();
        bytes.extend([b"PK\x03\x04\0\0", &facts[..], name.as_bytes(), content].concat());
        directory.extend([b"PK\x01\x02\0\0\0\0", &facts[..], &[0; 10], &at, name.as_bytes()].concat());
    }
    let count = (members.len() as u16).to_le_bytes();
    let [n, at] = [directory.len(), bytes.len()].map(|n| (n as u32).to_le_bytes());
    [&bytes[..], &directory, b"PK\x05\x06\0\0\0\0", &count, &count, &n, &at, &[0; 2]].concat()
}
