//! Little stories made by a probabilistic grammar, so that the best possible loss is known exactly.
//!
//! `story/stories.grammar` is the grammar and opens with its notation. Four readings of it stand in one file each:
//! `sample` writes a story, `parse` finds the derivation of a text, `entropy` computes what is known of all stories, and
//! `check` proves that every text has at most one derivation, on which the other three rest.

mod check;
mod entropy;
mod grammar;
mod parse;
mod read;
mod sample;
#[cfg(test)]
mod tests;

pub use parse::Mistake;

use super::rng::Dice;
use entropy::Measure;
use grammar::Grammar;

const STORIES: &str = include_str!("story/stories.grammar");

/// A writer of little stories, and their judge: it says of any text how likely it is as a story.
///
/// # The floor of the loss
/// Let a model read each story from its first character on and predict every character, then one token that ends the
/// story. Its mean loss per predicted token over endless fresh stories is H / (C + 1) or more, where H is the entropy of
/// a story in nats and C its mean number of characters: [`StoryGrammar::floor_nats_per_char`]. A model reaches it exactly
/// when it gives each story its true probability. The end costs a perfect model nothing, because no story is the
/// beginning of another; it counts as a token all the same. Two conditions:
///
/// - The mean is over tokens, not over stories: sum of losses / sum of tokens.
/// - No story is entered in its middle. Where stories stand one after the other and are cut into windows without
///   regard to where they begin, the first story of a window has lost its names and things, and no model can reach the
///   floor. So give a row whole stories; seeing other stories before it neither helps nor harms, for stories are
///   independent. [`StoryGrammar::longest_chars`] says which context holds any story.
///
/// On a finite set of stories a perfect model's loss differs from the floor by the luck of the draw (about 0.5 % for
/// 1,000 stories); [`StoryGrammar::floor_of`] is what it would be on that very set.
///
/// # Determinism
/// A story is a pure function of seed and index.
///
/// # Source
/// The grammar was written for this project. That the entropy of a grammar's texts is a sum over its rules:
/// Grenander, "Syntax-controlled probabilities", Brown University, 1967.
///
/// # Example
/// ```
/// use genera_modality::demo::StoryGrammar;
///
/// let grammar = StoryGrammar::new();
/// let story = grammar.sample(1, 0);
/// assert!(grammar.is_grammatical(&story));
/// assert!(grammar.log_probability("This is no story.").is_none());
/// ```
#[derive(Debug)]
pub struct StoryGrammar {
    grammar: Grammar,
    measure: Measure,
}

impl Default for StoryGrammar {
    fn default() -> Self {
        Self::new()
    }
}

impl StoryGrammar {
    /// The grammar of the demo, proved to give each story one derivation.
    ///
    /// # Cost
    /// Some milliseconds.
    pub fn new() -> Self {
        let grammar = Grammar::read(STORIES).unwrap_or_else(|error| panic!("stories.grammar: {error}"));
        let measure = grammar.measure();
        Self { grammar, measure }
    }

    /// Story `index` of `seed`, on one line and without a line end.
    pub fn sample(&self, seed: u64, index: u64) -> String {
        self.grammar.sample(Dice::new(seed, index)).0
    }

    /// The natural logarithm of the probability that [`StoryGrammar::sample`] writes exactly this text; `None` when it
    /// never does.
    pub fn log_probability(&self, story: &str) -> Option<f64> {
        self.grammar.derivations(story).log_probabilities.first().copied()
    }

    /// Whether the text is one of the stories, to the letter.
    pub fn is_grammatical(&self, story: &str) -> bool {
        self.log_probability(story).is_some()
    }

    /// Says where a text stops being a story.
    ///
    /// # Errors
    /// The first character that no story has in this place, and what could stand there.
    pub fn explain(&self, story: &str) -> Result<(), Mistake> {
        self.grammar.derivations(story).mistake.map_or(Ok(()), Err)
    }

    /// The entropy of a story, exactly (to rounding).
    ///
    /// # Units
    /// Nats per story.
    pub fn entropy_nats(&self) -> f64 {
        self.measure.entropy_nats
    }

    /// The mean number of tokens of a story for a character tokenizer, exactly: its characters and one for its end.
    pub fn expected_chars(&self) -> f64 {
        self.measure.mean_chars + 1.0
    }

    /// The least mean loss per character that a model can have, the end of a story counted as one character.
    ///
    /// # Units
    /// Nats per character.
    pub fn floor_nats_per_char(&self) -> f64 {
        self.entropy_nats() / self.expected_chars()
    }

    /// The mean loss per character that a perfect model has on these stories, the end of each counted as one character.
    ///
    /// # Units
    /// Nats per character; NaN when there are no stories.
    ///
    /// # Errors
    /// The first text that is not a story, as [`StoryGrammar::explain`].
    pub fn floor_of<S: AsRef<str>>(&self, stories: impl IntoIterator<Item = S>) -> Result<f64, Mistake> {
        let (mut nats, mut n_chars) = (0.0, 0);
        for story in stories {
            let derivations = self.grammar.derivations(story.as_ref());
            if let Some(mistake) = derivations.mistake {
                return Err(mistake);
            }
            nats -= derivations.log_probabilities[0];
            n_chars += story.as_ref().chars().count() + 1;
        }
        Ok(nats / n_chars as f64)
    }

    /// No story has more characters than this.
    pub fn longest_chars(&self) -> usize {
        self.measure.longest_chars
    }

    /// The number of different stories.
    pub fn n_stories(&self) -> f64 {
        self.measure.n_stories
    }
}
