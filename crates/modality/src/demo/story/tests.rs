//! The figures against sampling and enumeration, the parser against the sampler, the proof against grammars that fail it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use grammar::Piece;

/// Small enough to enumerate, with every kind of piece: agreement, exceptions, nested rules, draws that are forgotten.
const SMALL: &str = "
list names word they
3 Ada she
1 Ben he
2 Otto he
list things word it
2 bag it
1 boots them
list looks word
3 big
1 old
rule story
2 <who>{who} lost {=looks.a} {thing=things}. {who.They} <end>
1 No {=things}, <who><who>no {=names-who}.
rule who
3 {who=names}, {pal=names-who} and {=names-who-pal}.
1 A {=looks} {who=names}!
rule end
2 found {thing.it}.
1 cried.
";

/// Every text with its probability, by walking through all choices: (derivations, texts).
fn enumerate(grammar: &Grammar) -> (usize, BTreeMap<String, f64>) {
    let mut texts = BTreeMap::new();
    let start = (String::new(), grammar::Bindings::default(), 1.0);
    let ends = expand(grammar, &[Piece::Expand(0)], vec![start]);
    let n_derivations = ends.len();
    ends.into_iter().for_each(|(text, _, p)| *texts.entry(text).or_insert(0.0) += p);
    (n_derivations, texts)
}

type Partial = (String, grammar::Bindings, f64);

fn expand(grammar: &Grammar, pieces: &[Piece], starts: Vec<Partial>) -> Vec<Partial> {
    pieces.iter().fold(starts, |starts, piece| starts.iter().flat_map(|start| ways(grammar, piece, start)).collect())
}

fn ways(grammar: &Grammar, piece: &Piece, (text, bindings, p): &Partial) -> Vec<Partial> {
    let longer = |more: &str| format!("{text}{more}");
    match piece {
        Piece::Text(more) => vec![(longer(more), *bindings, *p)],
        Piece::Say { variable, form } => vec![(longer(grammar.said(bindings, *variable, *form)), *bindings, *p)],
        Piece::Draw { variable, list, form, except } => {
            let words: Vec<(usize, u32)> = grammar.drawable(*list, except, bindings).collect();
            let total: u32 = words.iter().map(|(_, weight)| weight).sum();
            let way = |&(word, weight): &(usize, u32)| {
                let share = f64::from(weight) / f64::from(total);
                (longer(grammar.form(word, *form)), bindings.with(*variable, word), p * share)
            };
            words.iter().map(way).collect()
        }
        Piece::Expand(rule) => {
            let rule = &grammar.rules[*rule];
            let total = f64::from(rule.total_weight());
            let options = rule.alternatives.iter();
            let start = |weight: u32| vec![(text.clone(), *bindings, p * f64::from(weight) / total)];
            options.flat_map(|option| expand(grammar, &option.pieces, start(option.weight))).collect()
        }
    }
}

/// The stories' grammar with all lists cut to their first `n_words` words.
fn cut_to(n_words: usize) -> Grammar {
    let mut left = 0;
    let keep = |line: &&str| {
        let is_row = line.starts_with(|c: char| c.is_ascii_digit()) && !line.contains(['{', '<']);
        left = if line.starts_with("list") { n_words } else { left };
        let kept = !is_row || left > 0;
        left = left.saturating_sub(usize::from(is_row));
        kept
    };
    let text: Vec<&str> = STORIES.lines().filter(keep).collect();
    Grammar::read(&text.join("\n")).unwrap()
}

fn assert_close(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance, "{a} is not {b} to {tolerance}");
}

#[test]
fn a_small_grammar_measures_as_its_enumeration() {
    let grammar = Grammar::read(SMALL).unwrap();
    let (n_derivations, texts) = enumerate(&grammar);
    assert_eq!(n_derivations, texts.len(), "two derivations give one text");
    assert_close(texts.values().sum(), 1.0, 1e-12);

    let measure = grammar.measure();
    assert_eq!(measure.n_stories, texts.len() as f64);
    assert_close(measure.entropy_nats, texts.values().map(|p| -p * p.ln()).sum(), 1e-12);
    assert_close(measure.mean_chars, texts.iter().map(|(text, p)| p * text.len() as f64).sum(), 1e-12);
    assert!(texts.keys().all(|text| text.len() <= measure.longest_chars));
    for (text, p) in &texts {
        let found = grammar.derivations(text).log_probabilities;
        assert_eq!(found.len(), 1, "{text}");
        assert_close(found[0], p.ln(), 1e-12);
    }
}

#[test]
fn the_small_grammar_says_what_it_should() {
    let (_, texts) = enumerate(&Grammar::read(SMALL).unwrap());
    // rule 2/3, who 1/4, look 3/4, name 1/6, look 1/4, thing 1/3, end 2/3
    let text = "A big Ben!Ben lost an old boots. He found them.";
    assert_close(texts[text], 2.0 / 3.0 / 4.0 * 0.75 / 6.0 / 4.0 / 3.0 * 2.0 / 3.0, 1e-12);
    assert!(!texts.contains_key("A big Ben!Ben lost an old boots. He found it."));
}

/// Every rule of the stories with two words a list: all texts differ.
#[test]
fn the_stories_rules_never_make_one_text_in_two_ways() {
    let mut small = cut_to(4);
    // Four words, for the draws that except three, are too many to enumerate: of those that nothing holds, keep one.
    for piece in small.rules.iter_mut().flat_map(|rule| &mut rule.alternatives).flat_map(|option| &mut option.pieces) {
        if let Piece::Draw { list, variable, except, .. } = piece
            && except.is_empty()
        {
            let words = &mut small.lists[*list].words;
            if variable.is_none() {
                words.end = words.start + 4;
            }
        }
    }
    assert!(small.check().is_ok());
}

#[test]
fn entropy_and_length_equal_the_means_over_samples() {
    let grammar = StoryGrammar::new();
    let n = 20_000;
    let samples: Vec<(String, f64)> = (0..n).map(|index| grammar.grammar.sample(Dice::new(11, index))).collect();
    let check = |values: Vec<f64>, expect: f64| {
        let mean = values.iter().sum::<f64>() / n as f64;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        let error = (variance / n as f64).sqrt();
        println!("{mean:.4} ± {error:.4}, exactly {expect:.4}");
        assert_close(mean, expect, 4.0 * error);
    };
    check(samples.iter().map(|(_, log_probability)| -log_probability).collect(), grammar.entropy_nats());
    check(samples.iter().map(|(story, _)| story.len() as f64 + 1.0).collect(), grammar.expected_chars());
}

#[test]
fn every_story_has_one_derivation_with_the_probability_of_its_choices() {
    let grammar = StoryGrammar::new();
    for index in 0..10_000 {
        let (story, log_probability) = grammar.grammar.sample(Dice::new(12, index));
        let found = grammar.grammar.derivations(&story).log_probabilities;
        assert_eq!(found.len(), 1, "{story}");
        assert_close(found[0], log_probability, 1e-9);
        assert!(story.len() <= grammar.longest_chars());
    }
}

#[test]
fn stories_with_a_mistake_are_no_stories() {
    let grammar = StoryGrammar::new();
    let pronouns =
        [("he ", "she "), ("she ", "he "), ("He ", "She "), ("She ", "He "), ("his ", "her "), (" it ", " them ")];
    let articles = [(" a ", " an "), (" an ", " a "), ("was not", "were not"), ("were not", "was not")];
    let words = [(" lived", ""), (" One", ""), (".", ""), ("d ", " "), ("e", "x")];
    let swaps: Vec<_> = pronouns.into_iter().chain(articles).chain(words).collect();
    let mut n_rejected = BTreeMap::new();
    for index in 0..300 {
        let story = grammar.sample(13, index);
        for &(from, to) in &swaps {
            if let Some(at) = story.rfind(from) {
                // ` it ` may stand where `them` would be right for another word, never in the same story.
                let mutant = format!("{}{to}{}", &story[..at], &story[at + from.len()..]);
                assert!(!grammar.is_grammatical(&mutant), "{mutant}");
                *n_rejected.entry((from, to)).or_insert(0) += 1;
            }
        }
        assert!(!grammar.is_grammatical(&format!("{story} ")));
        assert!(!grammar.is_grammatical(&format!("{story}{story}")));
        assert!(!grammar.is_grammatical(&story[..story.len() - 1]));
    }
    assert!(n_rejected.values().all(|&n| n > 10) && n_rejected.len() == swaps.len(), "{n_rejected:?}");
}

#[test]
fn samples_depend_on_seed_and_index_and_rarely_repeat() {
    let grammar = StoryGrammar::new();
    assert_eq!(grammar.sample(4, 7), grammar.sample(4, 7));
    let stories: BTreeSet<String> = (0..5_000).map(|i| grammar.sample(i % 2, i / 2)).collect();
    assert_eq!(stories.len(), 5_000);
    assert!(grammar.n_stories() > 1e12, "{}", grammar.n_stories());
    let characters: BTreeSet<char> = stories.iter().flat_map(|story| story.chars()).collect();
    assert!(characters.len() <= 50 && characters.iter().all(char::is_ascii), "{characters:?}");
}
