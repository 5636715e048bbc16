//! Proves of a grammar that each story has one derivation.

use std::collections::BTreeSet;

use super::grammar::{Grammar, List, Piece, Rule, VariableSet};

/// For each variable, the words that it may ever hold.
type Holdings = Vec<BTreeSet<usize>>;

impl Grammar {
    /// Checks that the grammar is sound, which means:
    ///
    /// - a variable is drawn before it is said, and every word that it may hold has the form that is said;
    /// - the words that a draw excepts are different words of its list, and leave at least one;
    /// - *at every choice, no option begins with what another option begins with*: the words of a list are prefix-free
    ///   in the form that is said, and so are the openings of the alternatives of a rule (what an alternative says up
    ///   to and including its first own choice, for every word that its variables may hold).
    ///
    /// From the last property follows, going through a story from its start, that at each choice at most one option
    /// fits the text that remains: so each text has at most one derivation, its probability is the product of the
    /// probabilities of the choices, no story is the beginning of another, and the entropy of the text is that of the
    /// choices.
    ///
    /// # Errors
    /// Which rule or list breaks a property, and with which words.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.rules.is_empty() {
            return Err("a grammar needs a rule".to_owned());
        }
        self.check_not_empty()?;
        let holdings = self.holdings();
        self.check_drawn(0, VariableSet::default())?;
        for rule in &self.rules {
            let mut pieces = rule.alternatives.iter().flat_map(|option| &option.pieces);
            pieces.try_for_each(|piece| self.check_piece(piece, &holdings)).map_err(in_rule(rule))?;
            self.check_openings(rule, &holdings).map_err(in_rule(rule))?;
        }
        Ok(())
    }

    fn check_not_empty(&self) -> Result<(), String> {
        let list = self.lists.iter().find(|list| list.words.is_empty()).map(|list| format!("list `{}`", list.name));
        let rule = self.rules.iter().find(|rule| rule.alternatives.is_empty()).map(|r| format!("rule `{}`", r.name));
        list.or(rule).map_or(Ok(()), |name| Err(format!("{name} is empty")))
    }

    fn holdings(&self) -> Holdings {
        let mut holdings = vec![BTreeSet::new(); self.n_variables];
        for piece in self.pieces() {
            if let Piece::Draw { variable: Some(variable), list, .. } = piece {
                holdings[*variable].extend(self.lists[*list].words.clone());
            }
        }
        holdings
    }

    /// Follows the rule from a state in which `drawn` hold words; gives what holds words after any alternative.
    fn check_drawn(&self, rule: usize, drawn: VariableSet) -> Result<VariableSet, String> {
        let rule = &self.rules[rule];
        let mut after: Option<VariableSet> = None;
        for option in &rule.alternatives {
            let set = option.pieces.iter().try_fold(drawn, |set, piece| self.drawn_after(piece, set));
            let set = set.map_err(in_rule(rule))?;
            after = Some(after.map_or(set, |after| after.and(set)));
        }
        Ok(after.unwrap_or(drawn))
    }

    fn drawn_after(&self, piece: &Piece, drawn: VariableSet) -> Result<VariableSet, String> {
        let needed = match piece {
            Piece::Expand(_) => VariableSet::default(),
            _ => self.needed_before(std::slice::from_ref(piece), VariableSet::default()),
        };
        match piece {
            Piece::Expand(rule) => self.check_drawn(*rule, drawn),
            _ if drawn.and(needed) != needed => Err(format!("a variable of {piece:?} has not been drawn")),
            Piece::Draw { variable: Some(variable), .. } => Ok(drawn.with(*variable)),
            _ => Ok(drawn),
        }
    }

    fn check_piece(&self, piece: &Piece, holdings: &Holdings) -> Result<(), String> {
        match piece {
            Piece::Say { variable, form } => self.check_forms(&holdings[*variable], *form),
            Piece::Draw { list, form, except, .. } => {
                let words: BTreeSet<usize> = self.lists[*list].words.clone().collect();
                self.check_forms(&words, *form)?;
                self.check_excepted(&self.lists[*list], except, holdings)?;
                prefix_free(words.iter().map(|&word| (word, self.form(word, *form).to_owned())).collect())
            }
            Piece::Text(_) | Piece::Expand(_) => Ok(()),
        }
    }

    fn check_forms(&self, words: &BTreeSet<usize>, form: usize) -> Result<(), String> {
        let missing = words.iter().find(|&&word| self.words[word].forms[form].as_deref().unwrap_or("").is_empty());
        missing.map_or(Ok(()), |&word| Err(format!("{:?} lacks a form that is said", self.words[word].forms)))
    }

    /// The excepted words are different words of the list, so that their number says how many words are left.
    fn check_excepted(&self, list: &List, except: &[usize], holdings: &Holdings) -> Result<(), String> {
        if list.words.len() <= except.len() {
            return Err(format!("list `{}` has no word left after {} exceptions", list.name, except.len()));
        }
        for (i, &later) in except.iter().enumerate() {
            if !holdings[later].iter().all(|word| list.words.contains(word)) {
                return Err(format!("an excepted variable may hold a word that is not in list `{}`", list.name));
            }
            let differs = |piece: &Piece| match piece {
                Piece::Draw { variable, except: others, .. } if *variable == Some(later) => {
                    except[..i].iter().all(|earlier| others.contains(earlier))
                }
                _ => true,
            };
            if !self.pieces().all(differs) {
                return Err(format!("two excepted variables may hold the same word of list `{}`", list.name));
            }
        }
        Ok(())
    }

    fn check_openings(&self, rule: &Rule, holdings: &Holdings) -> Result<(), String> {
        let openings = |(i, pieces)| self.openings(pieces, holdings).into_iter().map(move |text| (i, text));
        prefix_free(rule.alternatives.iter().map(|option| &option.pieces[..]).enumerate().flat_map(openings).collect())
    }

    /// Everything that the pieces may say up to and including their first choice.
    fn openings(&self, pieces: &[Piece], holdings: &Holdings) -> BTreeSet<String> {
        let mut openings = BTreeSet::from([String::new()]);
        for piece in pieces {
            let next: BTreeSet<String> = match piece {
                Piece::Text(text) => BTreeSet::from([text.clone()]),
                Piece::Say { variable, form } => {
                    holdings[*variable].iter().map(|&word| self.form(word, *form).to_owned()).collect()
                }
                Piece::Draw { list, form, .. } => {
                    self.lists[*list].words.clone().map(|word| self.form(word, *form).to_owned()).collect()
                }
                Piece::Expand(rule) => {
                    let options = &self.rules[*rule].alternatives;
                    options.iter().flat_map(|option| self.openings(&option.pieces, holdings)).collect()
                }
            };
            openings = openings.iter().flat_map(|start| next.iter().map(move |end| format!("{start}{end}"))).collect();
            if matches!(piece, Piece::Draw { .. } | Piece::Expand(_)) {
                break;
            }
        }
        openings
    }
}

/// Fails when a text is the beginning of a text of another option, or equals it.
fn prefix_free(mut texts: Vec<(usize, String)>) -> Result<(), String> {
    texts.sort_by(|a, b| a.1.cmp(&b.1));
    // Among sorted texts, the texts that begin with a given one follow it without a gap.
    for (i, (option, text)) in texts.iter().enumerate() {
        let mut longer = texts[i + 1..].iter().take_while(|(_, other)| other.starts_with(text.as_str()));
        if let Some((_, other)) = longer.find(|(other, _)| other != option) {
            return Err(format!("`{text}` of one option begins `{other}` of another"));
        }
    }
    Ok(())
}

fn in_rule(rule: &Rule) -> impl Fn(String) -> String {
    |error| format!("rule `{}`: {error}", rule.name)
}
