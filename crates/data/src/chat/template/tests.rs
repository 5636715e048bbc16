use super::super::renderers::DEADLINE;
use super::*;
use crate::tokenize::{Bytes, SpecialTokens, Templated, Tokenizer};
use serde_json::json;
use std::time::Instant;

/// The template of a directory.
fn load(directory: &Path) -> Option<ChatTemplate> {
    let config = std::fs::read(directory.join("tokenizer_config.json"));
    let config = config.map(|bytes| serde_json::from_slice(&bytes).unwrap()).unwrap_or_default();
    ChatTemplate::load(directory, &config).unwrap()
}

const CHATML: &str = "\
{% for message in messages %}
    {%- if loop.first and messages[0]['role'] != 'system' %}
        {{- '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}";

const LLAMA3: &str = "\
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set system = messages[0].content | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = '' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' ~ strftime_now('%d %b %Y') ~ '\\n' ~ system ~ '<|eot_id|>' }}
{%- for message in messages if message.role in ['user', 'assistant'] %}
    {{- '<|start_header_id|>%s<|end_header_id|>\\n\\n' | format(message.role) }}
    {{- message.content.strip() + '<|eot_id|>' }}
{%- endfor %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' if add_generation_prompt }}";

const MISTRAL: &str = "\
{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('roles must alternate') }}{% endif %}\
{% if message.role == 'user' %}{{ '[INST] ' + message.content + ' [/INST]' }}\
{% else %}{{ ' ' + message.content + eos_token }}{% endif %}{% endfor %}";

const GEMMA: &str = "\
{{ bos_token }}
{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{% endfor %}
{% if add_generation_prompt %}
{{ '<start_of_turn>model\\n' }}
{% endif %}
";

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, Some("<s>".to_owned()), Some("</s>".to_owned()))
}

fn messages(turns: &[(&str, &str)]) -> Vec<ChatMessage> {
    turns.iter().map(|&(role, content)| ChatMessage::new(role, content)).collect()
}

fn rendered(source: &str, turns: &[(&str, &str)], prompt: bool) -> String {
    template(source).render_dateless(&messages(turns), prompt).unwrap()
}

fn refused(source: &str, turns: &[(&str, &str)]) -> String {
    template(source).render_dateless(&messages(turns), false).unwrap_err().to_string()
}

const TALK: [(&str, &str); 3] = [("user", " Hi "), ("assistant", "Hello!"), ("user", "Bye")];

#[test]
fn published_manners_of_writing_are_followed() {
    assert_eq!(
        rendered(CHATML, &TALK, true),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nHello!\
         <|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(
        rendered(LLAMA3, &[("system", " S\n"), ("user", " Hi ")], true),
        "<s><|start_header_id|>system<|end_header_id|>\n\nToday: 26 Jul 2024\nS<|eot_id|><|start_header_id|>user\
         <|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    );
    assert_eq!(rendered(MISTRAL, &TALK, true), "<s>[INST]  Hi  [/INST] Hello!</s>[INST] Bye [/INST]");
    assert_eq!(
        rendered(GEMMA, &TALK[..2], true),
        "<s>\n<start_of_turn>user\nHi<end_of_turn>\n\n<start_of_turn>model\nHello!<end_of_turn>\n\n<start_of_turn>model\n\n"
    );
}

#[test]
fn a_template_refuses_in_its_own_words() {
    let error = refused(GEMMA, &[("system", "S")]);
    assert_eq!(error, "the model's chat template: it refuses these messages: System role not supported");
    assert!(refused(MISTRAL, &[("assistant", "S")]).contains("roles must alternate"));
}

#[test]
fn pythons_methods_and_json_are_there() {
    let check = |source: &str, expect: &str| assert_eq!(rendered(source, &TALK, false), expect, "{source}");
    check("{{ 'a b'.title() }} {{ ' x '.strip() }}{{ 'a,b'.split(',')[1] }}{{ 'ab'.startswith('a') }}", "A B xbTrue");
    check("{% for k, v in {'b': 1, 'a': none}.items() %}{{ k }}={{ v }};{% endfor %}", "b=1;a=None;");
    check(
        "{{ {'k': [1, '<é\"'], 'n': none, 'f': 1.5} | tojson }}",
        "{\"k\": [1, \"<é\\\"\"], \"n\": null, \"f\": 1.5}",
    );
    check("{{ {'k': [1]} | tojson(indent=2) }}", "{\n  \"k\": [\n    1\n  ]\n}");
    check("{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{{ m.role[0] }}{% endfor %}", "uu");
    check("{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.content }}{% endfor %}", " Hi Hello!");
    check(
        "{% set ns = namespace(x='') %}{% for m in messages %}{% set ns.x = ns.x + m.role[0] %}{% endfor %}{{ ns.x }}",
        "uau",
    );
    check("{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f('a') }}{{ f(2) }}", "[a][2]");
    check("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "2");
    check("{{ messages[0].tool_calls is defined }}{{ tools is defined }}{{ tools is none }}", "FalseTrueTrue");
    check("{{ documents is defined }}{{ documents is none }}{{ pad_token is defined }}", "TrueTrueFalse");
    let mixed = "{{ {'b': {'d': 'é😀\\x7f', 'c': []}, 'a': [1, {}]} | tojson(OPTIONS) }}";
    let json = |options: &str, expect: &str| check(&mixed.replace("OPTIONS", options), expect);
    json("", "{\"b\": {\"d\": \"é😀\u{7f}\", \"c\": []}, \"a\": [1, {}]}");
    json("ensure_ascii=false, indent=none", "{\"b\": {\"d\": \"é😀\u{7f}\", \"c\": []}, \"a\": [1, {}]}");
    json(
        "sort_keys=true, ensure_ascii=true",
        "{\"a\": [1, {}], \"b\": {\"c\": [], \"d\": \"\\u00e9\\ud83d\\ude00\\u007f\"}}",
    );
    json("separators=(',', ':')", "{\"b\":{\"d\":\"é😀\u{7f}\",\"c\":[]},\"a\":[1,{}]}");
    json(
        "sort_keys=true, indent=1, separators=(' ;', '=')",
        "{\n \"a\"=[\n  1 ;\n  {}\n ] ;\n \"b\"={\n  \"c\"=[] ;\n  \"d\"=\"é😀\u{7f}\"\n }\n}",
    );
    check("{{ [1, [2]] | tojson(indent='\t') }}", "[\n\t1,\n\t[\n\t\t2\n\t]\n]");
    check("{{ [1] | tojson(indent=0) }}", "[\n1\n]");
    check(
        "{{ messages[-1]['content'] }}{{ messages[::-1][0].content }}{{ 'Bye' in messages[-1].content }}",
        "ByeByeTrue",
    );
    check("a{%- generation -%} b {% endgeneration %} c", "ab  c");
    check("a\n", "a");
}

/// All that the Hugging Face library gives to a template.
#[test]
fn every_special_token_has_its_name() {
    let config = json!({
        "bos_token": "<s>", "pad_token": {"content": "<pad>"}, "sep_token": "<sep>", "unk_token": null,
        "additional_special_tokens": ["<a>", {"content": "<b>"}], "extra_special_tokens": {"image_token": "<image>"},
        "chat_template": "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ sep_token }}{{ additional_special_tokens[1] }}{{ image_token }}{{ unk_token is defined }}"
    });
    let template = ChatTemplate::of_config(&config).unwrap();
    assert_eq!(template.render(&[], false).unwrap(), "<s><pad><sep><b><image>False");
    let directory = tempfile::tempdir().unwrap();
    Templated::new(Arc::new(Bytes::new(&SpecialTokens::none())), template).save(directory.path()).unwrap();
    let again = load(directory.path()).unwrap();
    assert_eq!(again.render(&[], false).unwrap(), "<s><pad><sep><b><image>False");
    let refused = refused("{{ [1] | tojson(indent=999) }}", &TALK);
    assert!(refused.contains("an indent of at most 256 spaces"), "{refused}");
}

#[test]
fn sums_and_products_are_those_of_python() {
    let check = |source: &str, expect: &str| assert_eq!(rendered(source, &TALK, false), expect, "{source}");
    check("{{ 1 + 2 }} {{ 1.5 + 1 }} {{ 2.0 + 1 }} {{ true + 1 }} {{ 'a' + 'b' }}", "3 2.5 3.0 2 ab");
    check(
        "{{ [1] + [2, 3] }} {{ ([1] + messages[1:])[1].role }} {{ (range(2) + [7]) | list }}",
        "[1, 2, 3] assistant [0, 1, 7]",
    );
    check(
        "{{ 2 * 3 + 4 }} {{ 2 * (3 + 4) }} {{ 2 ** 3 * 2 }} {{ -2 * 3 }} {{ 'ab' * 2 }} {{ 3 * 'x' }}",
        "10 14 16 -6 abab xxx",
    );
    check("{{ [0] * 3 }} {{ messages[0].role * 2 }} {{ (1 + 1) * 'y' ~ 'z' }}", "[0, 0, 0] useruser yyz");
    check("{% macro f(a, b) %}{{ a * b }}{% endmacro %}{{ f(*[3, 4]) }}{% set x = 2 * 3 %}{{ x*x }}", "1236");
    check("{%- for m in messages -%} {{- loop.index * 10 + 1 -}} {%- endfor -%} a * b {# c * d #}", "112131a * b ");
    assert!(refused("{{ 'a' + 1 }}", &TALK).contains("line 1: string and number cannot be added"));
}

#[test]
fn the_line_of_a_mistake_is_named() {
    assert!(refused("\n{% if %}", &TALK).contains("line 2"));
    assert!(refused("\n\n{{ messages | nothing }}", &TALK).contains("line 3"));
    assert!(refused(&"x".repeat(MAX_SOURCE_BYTES + 1), &TALK).contains("at most"));
}

/// Templates of a hostile model: an error at once, whatever they do.
#[test]
fn what_never_ends_is_stopped() {
    let again = "{% for i in range(99999) %}{% for j in range(99999) %}";
    let twice = "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(99) %}";
    let shared = "{% set a = namespace(x=[1]) %}{% set b = namespace(x=[1]) %}{% for i in range(60) %}\
                  {% set a.x = [a.x, a.x] %}{% set b.x = [b.x, b.x] %}{% endfor %}";
    let deep = "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}";
    let hostile = [
        format!("{again}{{% endfor %}}{{% endfor %}}"),
        format!("{again}some text that is printed{{% endfor %}}{{% endfor %}}"),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_owned(),
        "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}".to_owned(),
        "{{ 'a' * 999999999 }}".to_owned(),
        "{{ range(99999) | list * 999999 }}".to_owned(),
        "{{ ('%99999999d' | format(1)) | length }}".to_owned(),
        format!("{twice}{{% set ns.x = ns.x ~ ns.x %}}{{% endfor %}}{{{{ ns.x }}}}"),
        format!("{twice}{{% set ns.x = ns.x + ns.x %}}{{% endfor %}}{{{{ ns.x }}}}"),
        format!("{twice}{{% set ns.x = ns.x.replace('a', 'aa') %}}{{% endfor %}}"),
        format!("{twice}{{% set ns.x = [ns.x, ns.x] %}}{{% endfor %}}{{{{ ns.x | tojson }}}}"),
        format!("{twice}{{% set ns.x = [ns.x, ns.x] %}}{{% endfor %}}{{{{ ns.x }}}}"),
        deep.to_owned(),
        format!("{deep}{{{{ ns.x }}}}"),
        deep.replace("99999", "9999") + "{{ ns.x | tojson }}",
        deep.replace("[ns.x]", "{'a': ns.x}").replace("99999", "9999")
            + "{{ ns.x == ns.x }}{{ ns.x | string | length }}",
        format!("{twice}{{% set ns.x = [ns.x, ns.x] %}}{{% endfor %}}{{{{ ns.x | string }}}}"),
        format!("{twice}{{% set ns.x = [ns.x, ns.x] %}}{{% endfor %}}{{{{ ns.x | join }}}}"),
        format!("{twice}{{% set ns.x = ns.x + ns.x %}}{{% endfor %}}").replace("'aaaaaaaa'", "[1]"),
        format!("{twice}{{% set ns.x = ns.x * 9 %}}{{% endfor %}}{{{{ ns.x == ns.x + [2] }}}}")
            .replace("'aaaaaaaa'", "[1]"),
        "{{ [1] * 99999999999 == [1] * 99999999999 }}".to_owned(),
        "{{ 99999999999 * [1] == 99999999999 * [1] }}".to_owned(),
        "{{ 3 in [1] * 99999999999 }}".to_owned(),
        "{{ ([1] * 99999999999) [99999999998] }}".to_owned(),
        format!("{{{{ {}[1] * 99999999{} }}}}", "[0] + (".repeat(40), ")".repeat(40)),
        "{{ [[1] * 99999999, [1] * 99999999] | sum(start=[]) | length }}".to_owned(),
        "{{ ([1] * 99999999) | sort | length }}{{ ([1] * 99999999) | unique | list }}".to_owned(),
        "{{ range(99999) | map('string') | list | join }}".to_owned(),
        format!("{shared}{{{{ a.x == b.x }}}}"),
        format!("{shared}{{{{ a.x != b.x }}}}"),
        format!("{shared}{{{{ a.x < b.x }}}}"),
        format!("{shared}{{{{ 0 < 1 < 2 == 2 == a.x == b.x }}}}"),
        format!("{shared}{{{{ a.x in [b.x] }}}}"),
        format!("{shared}{{{{ a.x in 'x' }}}}"),
        format!("{shared}{{{{ a.x is eq(b.x) }}}}"),
        format!("{shared}{{{{ a.x is in([b.x]) }}}}"),
        format!("{shared}{{{{ [a.x] | select('eq', b.x) | list }}}}"),
        format!("{shared}{{{{ [a.x, b.x] | sort }}}}{{{{ [a.x, b.x] | unique }}}}{{{{ [a.x, b.x] | max }}}}"),
        format!("{shared}{{{{ [a.x, b.x] | sort(*[]) }}}}"),
        format!("{shared}{{{{ [a.x].count(b.x) }}}}"),
        format!("{shared}{{% set m = {{a.x: 1}} %}}"),
        format!("{shared}{{{{ {{}}.get(a.x) }}}}{{{{ {{}}[a.x] }}}}"),
        format!("{shared}{{{{ (a.x ~ 'x') | length }}}}"),
        format!("{shared}{{{{ (a.x | upper) | length }}}}{{{{ ['a'] | map('replace', 'a', a.x) | list }}}}"),
        format!("{shared}{{{{ ','.join([a.x]) | length }}}}{{{{ '{{}}'.format(a.x) | length }}}}"),
        format!("{shared}{{% for i in [1, 2] %}}{{{{ loop.changed([a.x, i]) }}}}{{{{ loop.changed([b.x, 1]) }}}}{{% endfor %}}"),
        format!("{shared}{{{{ debug(a.x) | length }}}}"),
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}".to_owned(),
        "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns == ns.x }}".to_owned(),
        "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = ns.x[0:] %}{% endfor %}{{ ns.x }}".to_owned(),
        "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = ns.x | reverse %}{% endfor %}{{ ns.x }}"
            .to_owned(),
        "{{ '{:>800000000}'.format(1) | length }}".to_owned(),
        "{{ ('{:>9999}' * 9999).format(*range(9999)) | length }}".to_owned(),
        "{{ ('{0}' * 99999).format('x' * 999999) | length }}".to_owned(),
        "{{ ('a ' * 2000000).split(' ') | length }}".to_owned(),
        "{{ ('a ' * 2000000) | split | length }}{{ ['a\\n' * 2000000] | map('lines') | list | length }}".to_owned(),
        "{% set s = 'a' * 1000000 %}{{ s.strip('b' * 1000000 ~ 'a') | length }}".to_owned(),
        "{% set s = 'a' * 1000000 %}{{ [s] | map('trim', 'b' * 1000000 ~ 'a') | list | length }}".to_owned(),
        "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ s == 'a' * 1000000 }}{% endfor %}".to_owned(),
        "{% set s = ['a' * 1000000] * 10000 %}{{ s | sort | length }}".to_owned(),
        "{% set s = range(90000) | list %}{% for i in s %}{{ s == s[:] }}{{ -1 in s }}{% endfor %}".to_owned(),
        format!("{{{{ x{} }}}}", " + 1".repeat(200_000)),
        "(".repeat(100_000),
        format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(200_000)),
        format!("{{{{ {}true }}}}", "not ".repeat(200_000)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(200_000)),
        format!("{{{{ x{} }}}}", ".x".repeat(200_000)),
        "{% if true %}".repeat(50_000),
    ];
    for source in hostile {
        let start = Instant::now();
        let outcome = template(&source).render(&messages(&TALK), true);
        let shown: String = source.chars().take(120).collect();
        // The thread ended by itself, well before it would have been given up.
        assert!(start.elapsed() < DEADLINE, "{:?} for {shown}", start.elapsed());
        assert!(!ChatTemplate::is_any_overdue(), "{shown}");
        if let Ok(text) = outcome {
            assert!(text.len() < 1 << 23, "{shown}");
        }
    }
}

/// The engine panics on them.
#[test]
fn foreign_keys_of_formats_are_refused() {
    let render = |source: &str| template(source).render(&messages(&TALK), true);
    for source in ["{{ '%(a é)s' | format(a=1) }}", "{{ '{0[é]}'.format(messages) }}", "{{ '{0[}é]'.format(1) }}"] {
        let error = render(source).unwrap_err().to_string();
        assert!(error.contains("beyond ASCII"), "{source}: {error}");
    }
    for (source, expected) in [
        ("{{ 'é %d (%s)' | format(3, 'ü') }}", "é 3 (ü)"),
        ("{{ '%(a)s' | format(a='é') }}", "é"),
        ("{{ 'é {0[a]}'.format({'a': 1}) }}", "é 1"),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
}

#[test]
fn a_long_conversation_is_no_attack() {
    let turns: Vec<ChatMessage> = (0..2000)
        .map(|i| ChatMessage::new(if i % 2 == 0 { "user" } else { "assistant" }, "a few words each ".repeat(20)))
        .collect();
    let text = template(CHATML).render(&turns, true).unwrap();
    assert!(text.len() > 600_000);
}

#[test]
fn files_are_found_where_they_are_published() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let source = || load(directory.path()).map(|template| template.source().to_owned());
    assert_eq!(source(), None);
    write("tokenizer_config.json", r#"{"bos_token": {"content": "<b>"}, "eos_token": "<e>"}"#);
    assert_eq!(source(), None);
    let named = r#"[{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D{{ bos_token }}"}]"#;
    write("tokenizer_config.json", &format!(r#"{{"bos_token": {{"content": "<b>"}}, "chat_template": {named}}}"#));
    let template = load(directory.path()).unwrap();
    assert_eq!(template.render(&[], false).unwrap(), "D<b>");
    write("chat_template.jinja", "J{{ bos_token }}{{ eos_token }}");
    let template = load(directory.path()).unwrap();
    assert_eq!(template.render(&[], false).unwrap(), "J<b>");
}

/// The engine reads, translates and frees recursively: what nests must not reach the end of the stack.
#[test]
fn what_is_as_deep_as_it_is_long_is_no_danger() {
    let elifs = format!("{{% if x %}}{}{{% endif %}}", "a{% elif x %}".repeat(MAX_SOURCE_BYTES / 14));
    assert!(refused(&elifs, &TALK).contains("more than 1024 elifs"));
    assert_eq!(rendered(&format!("{{% if x %}}{}b{{% endif %}}", "a{% elif true %}".repeat(1024)), &[], false), "a");
    let deeper = format!("a{{% set x = {}x{} %}}", "[".repeat(40), "]".repeat(40));
    assert!(refused(&deeper.repeat(MAX_SOURCE_BYTES / deeper.len()), &TALK).contains("does not come to an end"));
}
