//! The laws, for every member of [`ALL`].

use super::*;
use genera_data::tokenize::{Bytes, Characters, Templated};
use genera_data::{ChatTemplate, Origin, SpecialTokens};
use genera_engine::generate::TokenMask;
use genera_tokens::Role;

const TEMPLATE: &str = "{% for m in messages %}{{ m.role[0] }}{{ m.content }}</s>{% endfor %}\
                        {% if add_generation_prompt %}a{% endif %}";

fn codebooks(modality: &dyn Modality, documents: &[Document]) -> Vec<Codebook> {
    let settings =
        Settings { table: TableSettings { columns: columns(), ..TableSettings::default() }, ..Settings::default() };
    if let Some(fit) = modality.fit(&settings) {
        let mut fitting = fit.begin();
        documents.iter().for_each(|document| fitting.add(document).unwrap());
        return vec![fitting.finish().unwrap()];
    }
    // The characters that the template writes itself.
    let mut text = "ua".to_owned();
    for document in documents {
        text += document.as_text().unwrap_or_default();
        text += document.target.as_deref().unwrap_or_default();
    }
    let special = SpecialTokens::standard();
    let bare: [Codebook; 2] =
        [Arc::new(Characters::new(&text.chars().collect(), &special).unwrap()), Arc::new(Bytes::new(&special))];
    bare.map(|bare| Arc::new(Templated::new(bare, ChatTemplate::new(TEMPLATE, None, None))) as Codebook).to_vec()
}

fn columns() -> Vec<String> {
    table::DEMO_COLUMNS.map(str::to_owned).to_vec()
}

/// What decoding is to give back; what names the rows of a table is not learned.
fn wanted(document: &Document) -> String {
    if let Some(row) = document.as_row() {
        let row: Vec<String> = row
            .iter()
            .zip(columns())
            .map(|(cell, name)| if name == "id" { String::new() } else { cell.clone() })
            .collect();
        return table::csv_line(&row);
    }
    let wanted = document.target.as_deref().or(document.as_text()).unwrap().to_owned();
    wanted + document.field(REJECTED).unwrap_or_default()
}

fn demo_documents(modality: &dyn Modality) -> Vec<Document> {
    let of_demo = |demo: &Demo| (0..120).map(|index| (demo.make)(3, index)).collect::<Vec<Document>>();
    modality.demos().iter().flat_map(of_demo).collect()
}

/// BART's sources and answers stand between two tokens, of which it writes the first itself.
#[test]
fn translation_keeps_to_what_a_published_file_puts_around_texts() {
    let bytes = Bytes::new(&SpecialTokens::standard());
    let mut file: serde_json::Value = serde_json::from_str(bytes.to_json()).unwrap();
    file["post_processor"] = serde_json::json!({ "type": "RobertaProcessing", "cls": ["<s>", 257], "sep": ["</s>", 258],
        "trim_offsets": true, "add_prefix_space": false });
    let published = genera_data::tokenizer_from_json(&file.to_string(), None).unwrap();
    let ours: Codebook = Arc::new(bytes);
    assert_eq!(Translation.encode_prompt(&published, "a").unwrap(), [257, 97, 258]);
    assert_eq!(Translation.encode_prompt(&ours, "a").unwrap(), [97, 258]);
    assert_eq!(Translation.grammar(&published).forbidden, [256]);
    assert_eq!(Translation.grammar(&ours).forbidden, [256, 257]);
    let pair = Document::pair(Origin::new("pairs", 0), "a".to_owned(), "b".to_owned());
    assert_eq!(Translation.encode(&published, &pair).unwrap().ids(), [257, 97, 258, 257, 98, 258]);
    assert_eq!(Translation.encode(&ours, &pair).unwrap().ids(), [97, 258, 98, 258]);
}

#[test]
fn names_are_distinct_and_found() {
    for modality in ALL {
        assert_eq!(by_name(modality.name()).unwrap().name(), modality.name());
        for demo in modality.demos() {
            assert_eq!(demo_by_name(demo.name).unwrap().0.name(), modality.name());
        }
    }
    assert!(by_name("nothing").is_none() && demo_by_name("nothing").is_none());
}

#[test]
fn encoding_and_decoding_give_the_document_back() {
    for modality in ALL {
        let documents = demo_documents(*modality);
        assert!(!documents.is_empty(), "{} has no demo", modality.name());
        for codebook in codebooks(*modality, &documents) {
            for document in &documents {
                let tokens = modality.encode(&codebook, document).unwrap();
                let decoded = modality.decode(&codebook, &tokens.ids_of(Role::Target));
                assert_eq!(decoded.as_text(), wanted(document), "{}", modality.name());
                assert!(tokens.ids().iter().all(|&id| codebook.vocab().contains(id)));
                let condition = tokens.ids_of(Role::Condition);
                assert_eq!(condition.is_empty(), document.target.is_none(), "{}", modality.name());
                if document.target.is_some() {
                    let prompt = modality.encode_prompt(&codebook, document.as_text().unwrap()).unwrap();
                    assert!(condition.starts_with(&prompt), "{}", modality.name());
                }
            }
        }
    }
}

#[test]
fn the_grammar_allows_what_was_encoded_and_its_tokens_decode() {
    for modality in ALL {
        let documents = demo_documents(*modality);
        for codebook in codebooks(*modality, &documents) {
            let forbidden = modality.grammar(&codebook).forbidden;
            for document in &documents {
                let target = modality.encode(&codebook, document).unwrap().ids_of(Role::Target);
                // The opening token is given, not generated.
                let generated = target.iter().filter(|&&id| Some(id) != codebook.vocab().special.begin);
                assert!(generated.clone().all(|id| !forbidden.contains(id)));
                if let Some(mut constraint) = modality.constraint(&codebook) {
                    for &id in generated {
                        let mut mask = TokenMask::all(codebook.vocab().size);
                        constraint.restrict(&mut mask);
                        let may_come = mask.allows(id) && constraint.confirms(id);
                        assert!(may_come, "{}: {}", modality.name(), codebook.token_text(id));
                        constraint.advance(id);
                    }
                }
            }
            let allowed: Vec<TokenId> =
                (0..codebook.vocab().size as u32).filter(|id| !forbidden.contains(id)).collect();
            modality.decode(&codebook, &allowed);
        }
    }
}

#[test]
fn hostile_input_gives_an_error_or_text_but_no_panic() {
    for modality in ALL {
        let codebook = &codebooks(*modality, &demo_documents(*modality))[0];
        let bytes = genera_data::Content::Bytes { media_type: "image/png".into(), data: vec![0xff; 9] };
        let origin = Origin::new("hostile", 0);
        let picture = Document { content: bytes, ..Document::text(origin.clone(), "") };
        assert!(modality.encode(codebook, &picture).is_err());
        // Any text is a text, but no pair, and no conversation.
        assert_eq!(modality.encode(codebook, &Document::text(origin, "no pair")).is_err(), modality.name() != "text");
        modality.decode(codebook, &[u32::MAX, 0, 7, u32::MAX - 1]);
    }
}

/// What goes on with a prompt is learned alone, behind the begin token and up to the end.
#[test]
fn a_completion_goes_on_with_its_prompt() {
    let codebook: Codebook = Arc::new(Bytes::new(&SpecialTokens::standard()));
    let pair = Document::pair(Origin::new("pairs", 0), "ab".to_owned(), "c".to_owned());
    let tokens = Text.encode(&codebook, &pair).unwrap();
    assert_eq!(tokens.ids_of(Role::Condition), Text.encode_prompt(&codebook, "ab").unwrap());
    assert_eq!(tokens.ids(), [257, 97, 98, 99, 258]);
    assert_eq!(tokens.ids_of(Role::Target), [99, 258]);
}
