//! What a grammar is made of, and what may be chosen at each point of a story.

/// A grammar: lists of words to draw from, and rules made of alternatives. Rule 0 is the whole story.
#[derive(Debug)]
pub(super) struct Grammar {
    pub(super) words: Vec<Word>,
    pub(super) lists: Vec<List>,
    pub(super) rules: Vec<Rule>,
    pub(super) n_variables: usize,
}

/// A word of a list, with every form of it that the grammar says.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) weight: u32,
    /// By form number; `None` where the word's list has no such column.
    pub(super) forms: Vec<Option<String>>,
}

/// Words of which one is drawn, with probability weight / sum of the weights.
#[derive(Debug)]
pub(super) struct List {
    pub(super) name: String,
    pub(super) words: std::ops::Range<usize>,
}

/// Alternatives of which one is taken, with probability weight / sum of the weights.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) alternatives: Vec<Alternative>,
}

/// One way to expand a rule: its pieces, one after the other.
#[derive(Debug)]
pub(super) struct Alternative {
    pub(super) weight: u32,
    pub(super) pieces: Vec<Piece>,
}

/// What stands at one place of an alternative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// These characters.
    Text(String),
    /// A form of the word that the variable holds.
    Say { variable: usize, form: usize },
    /// A form of a word drawn now, other than the words that `except` hold; the variable, if any, holds it from now on.
    Draw { variable: Option<usize>, list: usize, form: usize, except: Vec<usize> },
    /// An alternative of this rule.
    Expand(usize),
}

/// The most variables that a grammar can have.
pub(super) const N_VARIABLES_MAX: usize = 16;

/// Which word each variable holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bindings([u16; N_VARIABLES_MAX]);

impl Bindings {
    /// The word that the variable holds, if it has been drawn.
    pub(super) fn get(&self, variable: usize) -> Option<usize> {
        // Zero means "not drawn", so word w is held as w + 1.
        usize::from(self.0[variable]).checked_sub(1)
    }

    /// The same, with the variable holding the word.
    pub(super) fn with(mut self, variable: Option<usize>, word: usize) -> Self {
        if let Some(variable) = variable {
            self.0[variable] = u16::try_from(word + 1).expect("a grammar has fewer than 65,535 words");
        }
        self
    }

    /// The same, with every variable forgotten that is not in the set.
    pub(super) fn only(mut self, kept: VariableSet) -> Self {
        self.0.iter_mut().enumerate().filter(|(v, _)| !kept.contains(*v)).for_each(|(_, word)| *word = 0);
        self
    }
}

/// A set of variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VariableSet(u16);

impl VariableSet {
    /// Whether the variable is in the set.
    pub(super) fn contains(self, variable: usize) -> bool {
        self.0 >> variable & 1 == 1
    }

    /// The set with the variable.
    #[must_use]
    pub(super) fn with(self, variable: usize) -> Self {
        Self(self.0 | 1 << variable)
    }

    /// What is in either set.
    #[must_use]
    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without the variable.
    #[must_use]
    pub(super) fn without(self, variable: usize) -> Self {
        Self(self.0 & !(1 << variable))
    }

    /// What is in both sets.
    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether a variable is in both sets.
    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl Grammar {
    /// The form of the word.
    ///
    /// # Panics
    /// When the word has no such form; a grammar that has been read asks for no such form.
    pub(super) fn form(&self, word: usize, form: usize) -> &str {
        self.words[word].forms[form].as_deref().expect("every form that a checked grammar asks for is there")
    }

    /// What a [`Piece::Say`] says.
    ///
    /// # Panics
    /// When the variable has not been drawn; a grammar that has been read says no such variable.
    pub(super) fn said(&self, bindings: &Bindings, variable: usize, form: usize) -> &str {
        let word = bindings.get(variable).expect("a checked grammar says only what it has drawn");
        self.form(word, form)
    }

    /// The words that can be drawn from the list, with their weights.
    pub(super) fn drawable(
        &self,
        list: usize,
        except: &[usize],
        bindings: &Bindings,
    ) -> impl Iterator<Item = (usize, u32)> {
        let held = except.iter().fold([None; N_VARIABLES_MAX], |mut held, &variable| {
            held[variable] = bindings.get(variable);
            held
        });
        let words = self.lists[list].words.clone();
        words.filter(move |word| !held.contains(&Some(*word))).map(|word| (word, self.words[word].weight))
    }

    /// The variables whose words are needed before the pieces, when `after` are those needed behind them.
    pub(super) fn needed_before(&self, pieces: &[Piece], after: VariableSet) -> VariableSet {
        pieces.iter().rev().fold(after, |after, piece| match piece {
            Piece::Text(_) => after,
            Piece::Say { variable, .. } => after.with(*variable),
            Piece::Draw { variable, except, .. } => {
                let before = variable.map_or(after, |variable| after.without(variable));
                except.iter().fold(before, |set, &variable| set.with(variable))
            }
            Piece::Expand(rule) => {
                let options = self.rules[*rule].alternatives.iter();
                options.fold(VariableSet::default(), |set, option| set.or(self.needed_before(&option.pieces, after)))
            }
        })
    }

    /// Which variables depend on which: sets such that the words of one set's variables are drawn without regard to
    /// those of any other set's. A variable that excepts another, and all that a draw excepts, are in one set.
    pub(super) fn independent_sets(&self) -> Vec<VariableSet> {
        let mut sets: Vec<VariableSet> = (0..self.n_variables).map(|v| VariableSet::default().with(v)).collect();
        for piece in self.pieces() {
            let Piece::Draw { variable, except, .. } = piece else { continue };
            let tied = variable.iter().chain(except).fold(VariableSet::default(), |set, &v| set.with(v));
            let (touched, mut others): (Vec<_>, Vec<_>) = sets.into_iter().partition(|set| set.meets(tied));
            others.extend(touched.into_iter().reduce(VariableSet::or));
            sets = others;
        }
        sets
    }

    /// Every piece of every rule.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.rules.iter().flat_map(|rule| &rule.alternatives).flat_map(|option| &option.pieces)
    }
}

impl Rule {
    /// The sum of the weights.
    pub(super) fn total_weight(&self) -> u32 {
        self.alternatives.iter().map(|option| option.weight).sum()
    }
}
