//! Tests of what goes beyond the laws.

use super::*;
use crate::Settings;
use genera_chemistry::{Property, is_valid};
use genera_data::curate::{Step, Verdict};
use genera_data::{Content, Origin};
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
        let allowed: Vec<TokenId> = mask.iter().collect();
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
fn properties_stand_in_front_and_are_left_out_at_times() {
    let properties = vec!["logp".to_owned(), "qed".to_owned()];
    let codebook = codebook(MoleculeSettings { properties, n_bins: 8, ..MoleculeSettings::default() });
    let molecules = of(&codebook).unwrap();
    let ids = molecules.encode_molecule("CCO").unwrap();
    let asked = molecules.encode_beginning("CC", &[(Property::Qed, 1e9)]).unwrap();
    assert_eq!(asked.len(), 5);
    let text = |id: TokenId| codebook.token_text(id);
    assert_eq!(text(asked[1]), "<any>");
    let n_bins = molecules.properties().nth(1).unwrap().1.n_bins();
    assert_eq!(text(asked[2]), format!("<qed {}>", n_bins - 1));
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
    assert_eq!((bins.n_bins(), bins.bin(1.0)), (1, 0));
}

#[test]
fn the_sieve_keeps_the_smiles_and_drops_what_is_none() {
    let apply = |text: &str| match MoleculeSieve.apply(document(text)) {
        Verdict::Keep(Document { content: Content::Text(text), .. }) => Ok(text),
        Verdict::Drop(reason) => Err(reason),
        other => panic!("{other:?}"),
    };
    assert_eq!(apply("CCO ethanol 1"), Ok("CCO".to_owned()));
    // The grammar does not know this form, but RDKit mends it.
    assert_eq!(apply("CN(=O)=O"), Ok("CN(=O)=O".to_owned()));
    let block = genera_chemistry::Molecule::parse("CCO").unwrap().mol_block("x").unwrap();
    assert_eq!(apply(&block), Ok("CCO".to_owned()));
    for (text, reason) in [
        ("C1CC", "ring numbers do not pair"),
        ("C(C", "brackets of branches"),
        ("c1cccc1", "alternating bonds"),
        ("smiles", "a symbol that the format does not know"),
        ("FC(F)(F)(F)F", "more bonds than it can have"),
        ("M  END", "no block"),
    ] {
        assert!(apply(text).unwrap_err().contains(reason), "{text}: {:?}", apply(text));
    }
    assert!(apply(&"C".repeat(10_000_000)).unwrap_err().contains("too long"));
}
