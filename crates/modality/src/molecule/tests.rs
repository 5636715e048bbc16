//! Tests of what goes beyond the laws.

use super::*;
use crate::Settings;
use genera_chemistry::{Property, is_valid};
use genera_data::curate::{Step, Verdict};
use genera_data::{Content, Origin, Tokenizer};
use genera_engine::generate::TokenMask;

fn codebook(settings: MoleculeSettings) -> Codebook {
    let fit = Molecule.fit(&Settings { molecule: settings, ..Settings::default() }).unwrap();
    let mut fitting = fit.begin();
    (0..200).for_each(|index| fitting.add(&demo::molecule(5, index)).unwrap());
    fitting.finish().unwrap()
}

fn document(text: &str) -> Document {
    Document::text(Origin::new("x.smi", 16), text)
}

/// Follows the grammar, choosing among what it allows by a small generator of numbers; `None` where it finds no end.
fn walk(codebook: &Codebook, state: &mut u64) -> Option<String> {
    let mut grammar = Molecule.constraint(codebook).unwrap();
    let mut ids = Vec::new();
    for _ in 0..120 {
        let mut mask = TokenMask::all(codebook.vocab().size);
        grammar.restrict(&mut mask);
        let allowed: Vec<TokenId> = mask.iter().filter(|&id| grammar.confirms(id)).collect();
        if allowed.is_empty() {
            return None;
        }
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = allowed[(*state >> 33) as usize % allowed.len()];
        if Some(id) == codebook.vocab().special.end {
            return Some(codebook.decode(&ids));
        }
        grammar.advance(id);
        ids.push(id);
    }
    None
}

#[test]
fn what_the_grammar_lets_end_is_a_molecule() {
    for encoding in [Encoding::Smiles, Encoding::Robust] {
        let codebook = codebook(MoleculeSettings { encoding, ..MoleculeSettings::default() });
        let (mut state, mut n_ended) = (1, 0);
        for _ in 0..400 {
            if let Some(line) = walk(&codebook, &mut state) {
                assert!(is_valid(&line), "{encoding:?}: {line}");
                n_ended += 1;
            }
        }
        assert!(n_ended > 100, "{encoding:?}: only {n_ended} walks ended");
    }
}

#[test]
fn both_encodings_give_the_molecule_back() {
    for encoding in [Encoding::Smiles, Encoding::Robust] {
        let codebook = codebook(MoleculeSettings { encoding, ..MoleculeSettings::default() });
        for index in 0..50 {
            let document = demo::molecule(5, index);
            let ids = of(&codebook).unwrap().encode_molecule(document.as_text().unwrap()).unwrap();
            let canonical = |line: &str| genera_chemistry::Molecule::parse(line).unwrap().canonical().to_owned();
            assert_eq!(canonical(&codebook.decode(&ids)), canonical(document.as_text().unwrap()));
        }
    }
}

#[test]
fn a_molecule_is_shown_as_a_drawing_and_known_again() {
    let artifact = |text: &str| Artifact { media_type: "chemical/x-daylight-smiles", bytes: text.into() };
    let Preview::Svg(picture) = Molecule.preview(&artifact("CC(=O)Oc1ccccc1")) else { panic!("no drawing") };
    assert!(picture.starts_with("<svg xmlns=") && picture.ends_with("</svg>"), "{picture}");
    assert_eq!(Molecule.preview(&artifact("C1CC")), Preview::Text("C1CC".to_owned()));
    assert_eq!(Molecule.key("OCC"), Molecule.key("C(O)C"));
    assert_eq!(Molecule.key("C1CC"), "C1CC");
}

#[test]
fn what_is_asked_as_json_begins_every_molecule() {
    for encoding in [Encoding::Smiles, Encoding::Robust] {
        let settings = MoleculeSettings { encoding, properties: vec!["qed".to_owned()], ..MoleculeSettings::default() };
        let codebook = codebook(settings);
        assert_eq!(Molecule.input_schema(&codebook)["properties"]["qed"]["type"], "number");
        let read = |asked: serde_json::Value| Molecule.read_input(&codebook, asked.as_object().unwrap());
        let input = read(serde_json::json!({ "prompt": "CC", "qed": 0.5 })).unwrap();
        assert_eq!(input.prompt, of(&codebook).unwrap().encode_beginning("CC", &[(Property::Qed, 0.5)]).unwrap());
        let end = codebook.encode("O").unwrap();
        let made = [&input.given[..], &end].concat();
        assert_eq!(Molecule.decode(&codebook, &made).as_text(), "CCO", "{encoding:?}");
        assert_eq!(Molecule.value(&codebook, &made, 0).unwrap()["rings"], 0);
        let mut mask = TokenMask::all(codebook.vocab().size);
        (input.constraint.unwrap())().restrict(&mut mask);
        assert!(mask.allows(end[0]), "the rules know what it begins with");
        for (asked, part) in [
            (serde_json::json!({ "mass": 1 }), "there is prompt, qed"),
            (serde_json::json!({ "qed": "high" }), "expected a number"),
            (serde_json::json!({ "prompt": 7 }), "expected SMILES"),
        ] {
            let error = read(asked).err().unwrap().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn properties_stand_in_front_and_are_left_out_at_times() {
    let properties = vec!["logp".to_owned(), "qed".to_owned()];
    let codebook = codebook(MoleculeSettings { properties, n_bins: 8, ..MoleculeSettings::default() });
    let molecules = of(&codebook).unwrap();
    let ids = molecules.encode_molecule("CCO").unwrap();
    let (_, qed) = molecules.properties().nth(1).unwrap();
    let asked = molecules.encode_beginning("CC", &[(Property::Qed, qed.range().1)]).unwrap();
    assert_eq!(asked.len(), 5);
    let text = |id: TokenId| codebook.token_text(id);
    assert_eq!(text(asked[1]), "<any>");
    assert_eq!(text(asked[2]), format!("<qed {}>", qed.n_bins() - 1));
    assert!(text(ids[1]).starts_with("<logp ") && text(ids[2]).starts_with("<qed "));

    let vary = Molecule.vary(&codebook).unwrap();
    let choices: std::collections::BTreeSet<Vec<bool>> = (0..40)
        .map(|key| {
            let mut varied = ids.clone();
            vary.vary(&mut varied, key);
            assert_eq!((varied[0], &varied[3..]), (ids[0], &ids[3..]));
            varied[1..3].iter().map(|&id| text(id) == "<any>").collect()
        })
        .collect();
    assert_eq!(choices.len(), 4, "every choice of properties comes");
    assert!(!vary.is_learned(ids[1]) && vary.is_learned(ids[3]) && vary.is_learned(ids[ids.len() - 1]));

    let error = molecules.encode_beginning("", &[(Property::Weight, 1.0)]).unwrap_err().to_string();
    assert!(error.contains("did not learn to be asked for weight; it learned logp, qed"), "{error}");
    let error = molecules.encode_beginning("CBr", &[]).unwrap_err().to_string();
    assert!(error.contains("no molecule with \"Br\""), "{error}");
    assert!(super::MoleculeGrammar::new(&codebook, &molecules.encode_beginning("C=F=", &[]).unwrap()).is_err());
}

#[test]
fn properties_beyond_what_was_seen_are_refused_with_the_range() {
    let properties = vec!["logp".to_owned(), "qed".to_owned()];
    let codebook = codebook(MoleculeSettings { properties, n_bins: 8, ..MoleculeSettings::default() });
    let molecules = of(&codebook).unwrap();
    let (_, bins) = molecules.properties().nth(1).unwrap();
    let (least, greatest) = bins.range();
    assert!(0.0 < least && least < bins.edges[0] && bins.edges[bins.edges.len() - 1] < greatest && greatest < 1.0);
    for inside in [least, greatest] {
        molecules.encode_beginning("", &[(Property::Qed, inside)]).unwrap();
    }
    for beyond in [0.0, 1.0] {
        let error = molecules.encode_beginning("", &[(Property::Qed, beyond)]).unwrap_err().to_string();
        assert!(
            error.contains(&format!("qed = {beyond} is nothing")) && error.contains(&format!("{least} to {greatest}")),
            "{error}"
        );
    }
    let error = molecules.encode_beginning("", &[(Property::Qed, 7.0)]).unwrap_err().to_string();
    assert!(error.contains("no molecule has qed = 7; qed is a number from 0 to 1"), "{error}");
    let twice = [(Property::Qed, least), (Property::Qed, greatest)];
    let error = molecules.encode_beginning("", &twice).unwrap_err().to_string();
    assert!(error.contains("qed is asked for twice"), "{error}");

    let stored =
        |bins: &str| MoleculeCodebook::from_json(format!(r#"{{"symbols":["C"],"properties":[{bins}]}}"#).as_bytes());
    let older = stored(r#"{"property":"qed","edges":[0.25,0.5,0.75]}"#).unwrap();
    let asked = |value: f64| older.encode_beginning("", &[(Property::Qed, value)]);
    assert!(asked(0.25).is_ok() && asked(0.75).is_ok(), "older codebooks are read");
    let bin = |value: f64| older.token_text(asked(value).unwrap()[1]);
    assert_eq!(
        (bin(0.1), bin(0.9)),
        ("<qed 0>".to_owned(), "<qed 3>".to_owned()),
        "what lies beyond the edges was seen"
    );
    assert!(asked(5.0).unwrap_err().to_string().contains("from 0 to 1"));
    assert!(stored(r#"{"property":"qed","edges":[],"least":2.0,"greatest":1.0}"#).is_err());
}

#[test]
fn unknown_properties_and_damaged_codebooks_are_refused() {
    let settings = MoleculeSettings { properties: vec!["mass".to_owned()], ..MoleculeSettings::default() };
    let error = settings.known_properties().unwrap_err().to_string();
    assert!(error.contains("known are logp, qed, weight, sa, rings"), "{error}");
    for bad in [
        "",
        "{}",
        r#"{"symbols":[]}"#,
        r#"{"symbols":["C","C"]}"#,
        r#"{"symbols":["C"],"properties":[{"property":"mass","edges":[]}]}"#,
        r#"{"symbols":["C"],"properties":[{"property":"qed","edges":[2.0,1.0]}]}"#,
    ] {
        assert!(MoleculeCodebook::from_json(bad.as_bytes()).is_err(), "{bad}");
    }
    let bins = PropertyBins::by_quantiles("qed", vec![1.0; 50], 8).unwrap();
    assert_eq!((bins.n_bins(), bins.bin(1.0), bins.range()), (1, 0, (1.0, 1.0)));
}

#[test]
fn the_sieve_keeps_the_smiles_and_drops_what_is_none() {
    let sieved = |document: Document| match MoleculeSieve.apply(document) {
        Verdict::Keep(Document { content: Content::Text(text), .. }) => Ok(text),
        Verdict::Drop(reason) => Err(reason.to_owned()),
        Verdict::DropFor { reason, detail } => Err(format!("{reason}: {detail}")),
        other => panic!("{other:?}"),
    };
    let apply = |text: &str| sieved(document(text));
    assert_eq!(apply("CCO ethanol 1"), Ok("CCO".to_owned()));
    // The grammar does not know this form, but RDKit mends it.
    assert_eq!(apply("CN(=O)=O"), Ok("CN(=O)=O".to_owned()));
    let block = genera_chemistry::Molecule::parse("CCO").unwrap().mol_block("x").unwrap();
    assert_eq!(apply(&block), Ok("CCO".to_owned()));
    let apply_block = |text: &str| sieved(Document::block(Origin::new("x.sdf", 1), text, 57));
    assert_eq!(apply_block(&block), Ok("CCO".to_owned()));
    // The title of a block is no SMILES, whatever is missing behind it.
    let carbon_monoxide = genera_chemistry::Molecule::parse("CCO").unwrap().mol_block("CO").unwrap();
    let (cut, _) = carbon_monoxide.split_once("M  END").unwrap();
    assert!(apply_block(cut).unwrap_err().contains("no block of a molecule (MDL V2000): is cut short at line 66"));
    assert!(apply_block("CO").unwrap_err().contains("is cut short at line 58"), "{:?}", apply_block("CO"));
    assert!(apply_block(&block.replacen(" O ", " ? ", 1)).unwrap_err().contains("line 63: expected an atom"));
    for (text, reason) in [
        ("C1CC", "ring numbers do not pair"),
        ("C(C", "brackets of branches"),
        ("c1cccc1", "alternating bonds"),
        ("smiles", "a symbol that the format does not know"),
        ("a\nb\nc\n  0  0  0     0  0            999 V3000\nM  END", "V3000 is not read; write V2000: line 4"),
        ("FC(F)(F)(F)F", "more bonds than it can have"),
        ("a\nb\nc\nd\nM  END", "no block of a molecule (MDL V2000): line 4: expected the numbers"),
    ] {
        assert!(apply(text).unwrap_err().contains(reason), "{text}: {:?}", apply(text));
    }
    assert!(apply(&"C".repeat(10_000_000)).unwrap_err().contains("too long"));
}
