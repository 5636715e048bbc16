//! Writes stories.

use super::super::rng::Dice;
use super::grammar::{Bindings, Grammar, Piece};

/// A story in the making.
struct Draft {
    text: String,
    bindings: Bindings,
    log_probability: f64,
    dice: Dice,
}

impl Grammar {
    /// A story, and the logarithm of the probability of the choices that made it.
    pub(super) fn sample(&self, dice: Dice) -> (String, f64) {
        let mut draft = Draft { text: String::new(), bindings: Bindings::default(), log_probability: 0.0, dice };
        self.write_rule(0, &mut draft);
        (draft.text, draft.log_probability)
    }

    fn write_rule(&self, rule: usize, draft: &mut Draft) {
        let options = &self.rules[rule].alternatives;
        let chosen = draft.choose(options.iter().enumerate().map(|(i, option)| (i, option.weight)));
        options[chosen].pieces.iter().for_each(|piece| self.write(piece, draft));
    }

    fn write(&self, piece: &Piece, draft: &mut Draft) {
        match piece {
            Piece::Text(text) => draft.text.push_str(text),
            Piece::Say { variable, form } => draft.text.push_str(self.said(&draft.bindings, *variable, *form)),
            Piece::Draw { variable, list, form, except } => {
                let word = draft.choose(self.drawable(*list, except, &draft.bindings.clone()));
                draft.bindings = draft.bindings.with(*variable, word);
                draft.text.push_str(self.form(word, *form));
            }
            Piece::Expand(rule) => self.write_rule(*rule, draft),
        }
    }
}

impl Draft {
    /// Chooses among (option, weight) pairs.
    fn choose(&mut self, options: impl Iterator<Item = (usize, u32)>) -> usize {
        let options: Vec<(usize, u32)> = options.collect();
        let total: u32 = options.iter().map(|(_, weight)| weight).sum();
        let mut left = self.dice.below(total as usize) as u32;
        for (option, weight) in options {
            if left < weight {
                self.log_probability += (f64::from(weight) / f64::from(total)).ln();
                return option;
            }
            left -= weight;
        }
        unreachable!("a number below the sum of the weights falls to one of them")
    }
}
