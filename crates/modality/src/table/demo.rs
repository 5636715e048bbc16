//! A table made by rule.

use crate::demo::Dice;
use genera_data::{Document, Origin};

/// The names of its columns.
pub const COLUMNS: [&str; 8] = ["id", "age", "sex", "city", "member", "since", "income", "note"];

/// Row `index`: income depends on age and city, membership on age, and notes are often missing.
pub(super) fn person(seed: u64, index: u64) -> Document {
    let mut dice = Dice::new(seed, index);
    let age = 18 + dice.below(40) + dice.below(30);
    let city = ["Berlin", "Paris", "Rome, the eternal", "Oslo"][dice.below(4)];
    let bonus = if city == "Oslo" { 20_000 } else { 0 };
    let income = 15_000 + 400 * age + bonus + 10 * dice.below(800);
    let is_member = dice.below(80) < age;
    let (month, day) = (1 + dice.below(12), 1 + dice.below(28));
    let note = ["", "", "called", "wrote \"soon\""][dice.below(4)];
    let row = [
        format!("P-{index:06}"),
        age.to_string(),
        ["f", "m"][dice.below(2)].to_owned(),
        city.to_owned(),
        is_member.to_string(),
        format!("{}-{month:02}-{day:02}", 2000 + dice.below(24)),
        format!("{income}.00"),
        note.to_owned(),
    ];
    Document::row(Origin::new("people", index), row.to_vec())
}
