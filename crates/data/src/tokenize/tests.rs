use super::*;
use crate::Error;
use serde_json::{Value, json};

const SAMPLES: &[&str] = &[
    "",
    "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.",
    "  naïve café  \t łódź — 日本語 🦀👩‍👩‍👧  I'll they've 12 345 ½\r\n",
    "<s> </s> <pad> <unk> are but text",
    "\u{feff}\u{0}\u{1}\u{7f}\u{a0}\u{ad}\u{300}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// One tokenizer of each kind that is made here, with and without special tokens, able to express all samples.
fn made_here() -> Vec<Arc<dyn Tokenizer>> {
    let characters = SAMPLES.iter().flat_map(|sample| sample.chars()).collect();
    let texts: Vec<String> = SAMPLES.iter().map(|sample| sample.repeat(3)).collect();
    let mut all: Vec<Arc<dyn Tokenizer>> = Vec::new();
    for special in [SpecialTokens::none(), SpecialTokens::standard()] {
        all.push(Arc::new(Characters::new(&characters, &special).unwrap()));
        all.push(Arc::new(Bytes::new(&special)));
        all.push(Arc::new(train_bpe(&texts, 300, &special).unwrap()));
    }
    all
}

fn streamed(tokenizer: &dyn Tokenizer, ids: &[TokenId]) -> String {
    let mut stream = tokenizer.stream();
    let text: String = ids.iter().map(|&id| stream.push(id)).collect();
    text + &stream.finish()
}

#[test]
fn text_comes_back_whole_and_piece_by_piece() {
    for tokenizer in made_here() {
        for sample in SAMPLES {
            let ids = tokenizer.encode(sample).unwrap();
            assert!(ids.iter().all(|&id| tokenizer.vocab().contains(id)));
            assert_eq!(tokenizer.decode(&ids), *sample, "{}", tokenizer.name());
            assert_eq!(streamed(&*tokenizer, &ids), *sample, "{}", tokenizer.name());
            let lens = tokenizer.token_bytes();
            assert_eq!(ids.iter().map(|&id| lens[id as usize] as usize).sum::<usize>(), sample.len());
        }
    }
}

#[test]
fn any_ids_decode_alike_in_one_go_and_streamed() {
    for tokenizer in made_here() {
        for seed in 0..50 {
            let n_ids = tokenizer.vocab().size as u64 + 3;
            let ids: Vec<TokenId> = (0..20).map(|i| crate::order::random_below(seed, i, n_ids) as TokenId).collect();
            assert_eq!(streamed(&*tokenizer, &ids), tokenizer.decode(&ids), "{} {ids:?}", tokenizer.name());
        }
    }
}

#[test]
fn files_load_as_the_same_tokenizer_and_the_tokenizers_crate_agrees() {
    let directory = tempfile::tempdir().unwrap();
    for tokenizer in made_here() {
        tokenizer.save(directory.path()).unwrap();
        let loaded = load_tokenizer(directory.path()).unwrap();
        assert_eq!(loaded.name(), tokenizer.name());
        assert_eq!(loaded.vocab(), tokenizer.vocab());
        assert_eq!(loaded.fingerprint(), tokenizer.fingerprint());
        assert_eq!(loaded.special_tokens(), tokenizer.special_tokens());
        let reference = Foreign::new(tokenizer.to_json(), tokenizer.special_tokens().clone()).unwrap();
        assert_eq!(reference.vocab(), tokenizer.vocab());
        assert_eq!(reference.token_bytes()[..], tokenizer.token_bytes()[..]);
        for sample in SAMPLES {
            let ids = tokenizer.encode(sample).unwrap();
            assert_eq!(loaded.encode(sample).unwrap(), ids);
            assert_eq!(reference.encode(sample).unwrap(), ids, "{} on {sample:?}", tokenizer.name());
            assert_eq!(reference.decode(&ids), *sample);
            assert_eq!(streamed(&reference, &ids), *sample);
        }
    }
}

#[test]
fn byte_pairs_are_merged_as_by_the_tokenizers_crate_on_random_words() {
    let alphabet = ['a', 'b', 'c', ' ', 'a', 'b', '\n', 'é', '日'];
    let text = |seed: u64, n: u64| -> String {
        (0..n).map(|i| alphabet[crate::order::random_below(seed, i, alphabet.len() as u64) as usize]).collect()
    };
    let texts: Vec<String> = (0..20).map(|seed| text(seed, 2000)).collect();
    let bpe = train_bpe(&texts, 600, &SpecialTokens::none()).unwrap();
    assert_eq!(bpe.vocab().size, 600);
    let reference = Foreign::new(bpe.to_json(), SpecialTokens::none()).unwrap();
    for seed in 100..200 {
        let text = text(seed, 300);
        assert_eq!(bpe.encode(&text).unwrap(), reference.encode(&text).unwrap(), "{text:?}");
        let word = text.replace([' ', '\n'], "");
        assert_eq!(bpe.encode(&word).unwrap(), reference.encode(&word).unwrap(), "{word:?}");
    }
}

#[test]
fn training_is_deterministic_and_small_vocabularies_are_refused() {
    let texts: Vec<String> = SAMPLES.iter().map(|sample| sample.repeat(5)).collect();
    let train = |texts: &[String]| train_bpe(texts, 320, &SpecialTokens::standard()).unwrap();
    let reversed: Vec<String> = texts.iter().rev().cloned().collect();
    assert_eq!(train(&texts).to_json(), train(&texts).to_json());
    assert_eq!(train(&texts).to_json(), train(&reversed).to_json());
    let error = train_bpe(&texts, 258, &SpecialTokens::standard()).unwrap_err().to_string();
    assert!(error.contains("258 is too small") && error.contains("259"), "{error}");
}

#[test]
fn unknown_characters_are_the_unknown_token_or_an_error() {
    let characters = "abc".chars().collect();
    let with = Characters::new(&characters, &SpecialTokens::standard()).unwrap();
    let unknown = with.vocab().special.unknown.unwrap();
    assert_eq!(with.encode("a?").unwrap(), [4, unknown]);
    assert_eq!(with.decode(&[4, unknown, 5]), "ab");
    assert_eq!(with.token_text(unknown), "<unk>");
    let without = Characters::new(&characters, &SpecialTokens::none()).unwrap();
    assert_eq!(without.encode("cab").unwrap(), [2, 0, 1]);
    assert!(matches!(without.encode("ab日"), Err(Error::UnknownCharacter { character: '日', offset: 2 })));
    assert!(Characters::new(&characters, &SpecialTokens { end: Some("!".into()), ..SpecialTokens::none() }).is_err());
}

/// A SentencePiece-like tokenizer: words begin with a mark for the space before them.
const METASPACE: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [
        {"id": 0, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
        {"id": 1, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
    ],
    "normalizer": null,
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
    "post_processor": null,
    "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
    "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": [
        ["<unk>", 0.0], ["</s>", 0.0], ["▁to", -1.0], ["▁be", -1.0], ["▁", -3.0], ["t", -4.0], ["o", -4.0], ["b", -4.0], ["e", -4.0]
    ]}
}"#;

#[test]
fn foreign_tokenizers_work_too() {
    let tokenizer = tokenizer_from_json(METASPACE, None).unwrap();
    assert_eq!(tokenizer.name(), "foreign");
    assert_eq!((tokenizer.vocab().special.unknown, tokenizer.vocab().special.end), (Some(0), Some(1)));
    let ids = tokenizer.encode("to be tobe").unwrap();
    assert_eq!(ids, [2, 3, 2, 7, 8]);
    assert_eq!(tokenizer.decode(&ids), "to be tobe");
    assert_eq!(streamed(&*tokenizer, &ids), "to be tobe");
    assert_eq!(tokenizer.token_text(3), " be");
    assert_eq!(tokenizer.token_bytes()[..], [0, 0, 3, 3, 1, 1, 1, 1, 1]);
}

#[test]
fn roles_come_from_the_configuration() {
    let config = r#"{"eos_token": {"content": "</s>"}, "pad_token": "<unk>"}"#;
    let special = tokenizer_from_json(METASPACE, Some(config)).unwrap().vocab().special;
    assert_eq!((special.padding, special.end, special.unknown), (Some(0), Some(1), None));
}

/// A file that is there and damaged, or too much, is not taken for one that is not there.
#[test]
fn configurations_are_read_or_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("tokenizer.json", METASPACE);
    let refusals = |config: &str| {
        write("tokenizer_config.json", config);
        let of_file = load_tokenizer(directory.path()).err().expect("it is refused").to_string();
        assert!(of_file.contains("tokenizer_config.json: is not what it should be"), "{of_file}");
        tokenizer_from_json(METASPACE, Some(config)).err().expect("it is refused").to_string()
    };
    for config in [r#"{"eos_token": "#, "", "[]"] {
        let of_text = refusals(config);
        assert!(of_text.contains("its configuration is not what it should be"), "{of_text}");
    }
    let list = "0,".repeat(1 << 17);
    assert!(refusals(&format!(r#"{{"more": [{list}0]}}"#)).contains("more than 131072 values"));
    write("tokenizer_config.json", &format!(r#"{{"added_tokens_decoder": [{list}0], "eos_token": "<unk>"}}"#));
    assert_eq!(load_tokenizer(directory.path()).unwrap().vocab().special.end, Some(0));
    write("tokenizer_config.json", &format!("{{{}}}", " ".repeat(1 << 24)));
    assert!(load_tokenizer(directory.path()).err().expect("it is too long").to_string().contains("bigger than 16 MiB"));
}

/// The stage of a file that puts `<s>` (1) and `</s>` (2) around a text.
fn stages_around() -> [Value; 4] {
    let template = json!({
        "type": "TemplateProcessing",
        "single": [
            { "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } },
            { "SpecialToken": { "id": "</s>", "type_id": 0 } },
        ],
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
        "special_tokens": {
            "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] }, "</s>": { "id": "</s>", "ids": [2], "tokens": ["</s>"] },
        },
    });
    let roberta = json!({
        "type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": true, "add_prefix_space": false,
    });
    let bert = json!({ "type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1] });
    let offsets = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true });
    let sequence = json!({ "type": "Sequence", "processors": [offsets, template] });
    [template, roberta, bert, sequence]
}

/// A byte-level `tokenizer.json` in another program's hand.
fn byte_level(post_processor: &Value) -> String {
    let bpe = train_bpe(&["aa aa aa".to_owned()], 260, &SpecialTokens::standard()).unwrap();
    let mut file: Value = serde_json::from_str(bpe.to_json()).unwrap();
    file["post_processor"] = post_processor.clone();
    file["pre_tokenizer"]["trim_offsets"] = json!(true);
    file["decoder"]["trim_offsets"] = json!(true);
    file.to_string()
}

#[test]
fn an_encoder_reads_what_the_file_puts_around_a_text() {
    for stage in stages_around() {
        let json = byte_level(&stage);
        let tokenizer = tokenizer_from_json(&json, None).unwrap();
        let reference = tokenizers::Tokenizer::from_bytes(json.as_bytes()).unwrap();
        let expected = reference.encode("aa", true).unwrap().get_ids().to_vec();
        assert_eq!((expected.len(), expected[0], expected[2]), (3, 1, 2));
        assert_eq!(tokenizer.encode_framed("aa").unwrap(), expected, "{stage}");
        assert_eq!(tokenizer.encode("aa").unwrap(), expected[1..2]);
        assert_eq!(tokenizer.vocab().special.begin, Some(1));
    }
    let far = json!({ "type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 999] });
    let error = tokenizer_from_json(&byte_level(&far), None).err().expect("there is no such token").to_string();
    assert!(error.contains("'<s>' with the id 999"), "{error}");
    let end_alone = tokenizer_from_json(METASPACE, None).unwrap();
    assert_eq!(end_alone.encode_framed("to").unwrap(), [2, 1]);
}

#[test]
fn models_like_bert_frame_their_texts_without_a_stage() {
    let json = byte_level(&Value::Null);
    let framed = |class: &str| {
        let config = json!({ "tokenizer_class": class, "cls_token": "<s>", "sep_token": { "content": "</s>" } });
        tokenizer_from_json(&json, Some(&config.to_string())).unwrap().encode_framed("aa").unwrap().len()
    };
    assert_eq!((framed("BertTokenizer"), framed("PreTrainedTokenizerFast")), (3, 2));
}

#[test]
fn texts_begin_as_the_files_say() {
    let begin =
        |json: &str, config: Value| tokenizer_from_json(json, Some(&config.to_string())).unwrap().vocab().special.begin;
    let [bos, nothing] = [json!({ "bos_token": "<s>" }), json!({})];
    let elsewhere = byte_level(&Value::Null);
    assert_eq!((begin(&elsewhere, bos.clone()), begin(&elsewhere, nothing.clone())), (None, None));
    assert_eq!(begin(&elsewhere, json!({ "bos_token": "<s>", "add_bos_token": true })), Some(1));
    let run_of_old = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false, "bos_token": "<s>",
    });
    assert_eq!(begin(&elsewhere, run_of_old), Some(1));
    let ours = Bytes::new(&SpecialTokens::standard());
    assert_eq!((begin(ours.to_json(), bos), begin(ours.to_json(), nothing)), (Some(257), Some(257)));
    let [template, ..] = stages_around();
    assert_eq!(begin(&byte_level(&template), json!({ "eos_token": "</s>" })), Some(1));
}

/// A vector of the last token is that of the end token only where the files put it there.
#[test]
fn whole_texts_have_what_the_files_put_around_them() {
    let directory = tempfile::tempdir().unwrap();
    let check = |pieces: &[&str], settings: Value, expected: &[TokenId], closing: &[TokenId]| {
        let piece = |name: &&str| match *name {
            "A" => json!({ "Sequence": { "id": "A", "type_id": 0 } }),
            name => json!({ "SpecialToken": { "id": name, "type_id": 0 } }),
        };
        let mut stage = stages_around()[0].clone();
        stage["single"] = pieces.iter().map(piece).collect();
        let json = byte_level(if pieces.is_empty() { &Value::Null } else { &stage });
        let mut config = json!({ "bos_token": "<s>", "eos_token": { "content": "</s>" } });
        config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let tokenizer = tokenizer_from_json(&json, Some(&config.to_string())).unwrap();
        let text = tokenizer.encode("aa").unwrap();
        let expected: Vec<TokenId> =
            expected.iter().flat_map(|&id| if id == 0 { text.clone() } else { vec![id] }).collect();
        let is_right = |tokenizer: &dyn Tokenizer| {
            assert_eq!(tokenizer.encode_whole("aa").unwrap(), expected, "{pieces:?} {config}");
            assert_eq!(tokenizer.closing(), closing, "{pieces:?} {config}");
        };
        is_right(&*tokenizer);
        tokenizer.save(directory.path()).unwrap();
        is_right(&*load_tokenizer(directory.path()).unwrap());
        export_tokenizer(&*tokenizer, directory.path(), Reads::Beginnings).unwrap();
        is_right(&*load_tokenizer(directory.path()).unwrap());
    };
    let [yes, no] = [true, false].map(|ends| json!({ "add_eos_token": ends }));
    check(&["<s>", "A"], yes, &[1, 0, 2], &[2]);
    check(&["<s>", "A"], no, &[1, 0], &[]);
    check(&["<s>", "A"], json!({}), &[1, 0], &[]);
    check(&["A", "</s>"], json!({ "add_bos_token": false }), &[0, 2], &[2]);
    check(&["<s>", "A", "</s>"], json!({ "add_eos_token": true }), &[1, 0, 2], &[2]);
    check(&[], json!({ "add_bos_token": true, "add_eos_token": true }), &[1, 0, 2], &[2]);
    check(&[], json!({ "add_bos_token": false, "add_eos_token": false }), &[0], &[]);
}

#[test]
fn exported_files_put_the_special_tokens_around_texts() {
    let directory = tempfile::tempdir().unwrap();
    let read = |path: &str| std::fs::read(directory.path().join(path)).unwrap();
    for tokenizer in made_here() {
        for (reads, before, after) in [(Reads::Beginnings, true, false), (Reads::Sources, false, true)] {
            export_tokenizer(&*tokenizer, directory.path(), reads).unwrap();
            let special = tokenizer.vocab().special;
            let mut expected = tokenizer.encode("a").unwrap();
            expected.splice(0..0, special.begin.filter(|_| before));
            expected.extend(special.end.filter(|_| after));
            let theirs = tokenizers::Tokenizer::from_bytes(read("tokenizer.json")).unwrap();
            assert_eq!(theirs.encode("a", true).unwrap().get_ids(), expected, "{} {reads:?}", tokenizer.name());
            let config: Value = serde_json::from_slice(&read("tokenizer_config.json")).unwrap();
            assert_eq!(config["add_bos_token"], special.begin.is_some() && before);
            let loaded = load_tokenizer(directory.path()).unwrap();
            assert_eq!((loaded.name(), loaded.vocab().size), (tokenizer.name(), tokenizer.vocab().size));
            assert_eq!(loaded.vocab().special.begin, special.begin.filter(|_| before));
            assert_eq!(loaded.encode_framed("a").unwrap(), tokenizer.encode_framed("a").unwrap());
        }
    }
}

#[test]
fn byte_level_vocabularies_without_all_bytes_are_left_to_the_tokenizers_crate() {
    let bpe = train_bpe(&["aa aa aa".to_owned()], 260, &SpecialTokens::none()).unwrap();
    let mut file: Value = serde_json::from_str(bpe.to_json()).unwrap();
    file["model"]["vocab"] = json!({ "a": 0, "b": 1, "aa": 2 });
    file["model"]["merges"] = json!([["a", "a"]]);
    let tokenizer = tokenizer_from_json(&file.to_string(), None).unwrap();
    assert_eq!((tokenizer.name(), tokenizer.encode("aab").unwrap()), ("foreign", vec![2, 1]));
}

#[test]
fn an_added_token_that_is_not_special_is_left_to_the_tokenizers_crate() {
    let bytes = Bytes::new(&SpecialTokens::standard()).to_json().replacen("\"special\": true", "\"special\": false", 1);
    assert_eq!(tokenizer_from_json(&bytes, None).unwrap().name(), "foreign");
}

#[test]
fn files_that_are_no_tokenizer_are_errors() {
    let bpe = train_bpe(&["aa aa aa".to_owned()], 260, &SpecialTokens::none()).unwrap();
    let damaged = |from: &str, to: &str| bpe.to_json().replacen(from, to, 1);
    for json in [
        String::new(),
        "[]".to_owned(),
        "{}".to_owned(),
        "[".repeat(100_000),
        bpe.to_json()[..200].to_owned(),
        damaged("\"a\": ", "\"日\": "),
        damaged("\"aa\": ", "\"ab\": "),
    ] {
        assert!(tokenizer_from_json(&json, None).is_err(), "{}", &json[..json.len().min(80)]);
    }
}
