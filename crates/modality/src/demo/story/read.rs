//! Reads a grammar from its text; `stories.grammar` opens with the notation.

use std::collections::HashMap;

use super::grammar::{Alternative, Grammar, List, N_VARIABLES_MAX, Piece, Rule, Word};

/// Words and rules by name, before the templates are resolved.
#[derive(Default)]
struct Draft<'a> {
    lists: Vec<DraftList<'a>>,
    rules: Vec<DraftRule<'a>>,
}

struct DraftList<'a> {
    name: &'a str,
    columns: Vec<&'a str>,
    rows: Vec<(u32, Vec<&'a str>)>,
}

struct DraftRule<'a> {
    name: &'a str,
    templates: Vec<(u32, &'a str)>,
}

impl Grammar {
    /// Reads a grammar and proves it sound: see [`Grammar::check`].
    ///
    /// # Errors
    /// What is wrong, and in which line or rule.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let draft = Draft::read(text)?;
        let grammar = Resolver::new(&draft)?.resolve(&draft)?;
        grammar.check()?;
        Ok(grammar)
    }
}

impl<'a> Draft<'a> {
    fn read(text: &'a str) -> Result<Self, String> {
        let mut draft = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                draft.read_line(line).map_err(|error| format!("line {}: {error}: {line}", number + 1))?;
            }
        }
        Ok(draft)
    }

    fn read_line(&mut self, line: &'a str) -> Result<(), String> {
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        match head {
            "list" => {
                let mut fields = rest.split_whitespace();
                let name = fields.next().ok_or("a list needs a name")?;
                self.lists.push(DraftList { name, columns: fields.collect(), rows: Vec::new() });
                Ok(())
            }
            "rule" => {
                self.rules.push(DraftRule { name: rest.trim(), templates: Vec::new() });
                Ok(())
            }
            _ => {
                let weight = head.parse().ok().filter(|weight| (1..=1000).contains(weight));
                self.read_row(weight.ok_or("expected `list`, `rule` or a weight from 1 to 1000")?, rest.trim())
            }
        }
    }

    /// A row belongs to the rule above it, or while there is none yet to the list above it: lists come first.
    fn read_row(&mut self, weight: u32, rest: &'a str) -> Result<(), String> {
        if let Some(rule) = self.rules.last_mut() {
            rule.templates.push((weight, rest));
            return Ok(());
        }
        let list = self.lists.last_mut().ok_or("a row stands above the first list")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        if fields.len() != list.columns.len() {
            return Err(format!("list `{}` has {} columns, not {}", list.name, list.columns.len(), fields.len()));
        }
        list.rows.push((weight, fields));
        Ok(())
    }
}

/// Numbers for the names of forms, variables, lists and rules.
struct Resolver<'a> {
    lists: HashMap<&'a str, usize>,
    rules: HashMap<&'a str, usize>,
    variables: Vec<&'a str>,
    forms: Vec<&'a str>,
}

impl<'a> Resolver<'a> {
    fn new(draft: &Draft<'a>) -> Result<Self, String> {
        let lists = numbered("list", draft.lists.iter().map(|list| list.name))?;
        let rules = numbered("rule", draft.rules.iter().map(|rule| rule.name))?;
        Ok(Self { lists, rules, variables: Vec::new(), forms: Vec::new() })
    }

    fn resolve(mut self, draft: &Draft<'a>) -> Result<Grammar, String> {
        let rules = draft.rules.iter().enumerate().map(|(i, rule)| self.rule(i, rule)).collect::<Result<_, _>>()?;
        let (mut words, mut lists) = (Vec::new(), Vec::new());
        for list in &draft.lists {
            let first = words.len();
            words.extend(list.rows.iter().map(|(weight, row)| self.word(*weight, &list.columns, row)));
            lists.push(List { name: list.name.to_owned(), words: first..words.len() });
        }
        Ok(Grammar { words, lists, rules, n_variables: self.variables.len() })
    }

    fn rule(&mut self, own: usize, rule: &DraftRule<'a>) -> Result<Rule, String> {
        let mut alternatives = Vec::new();
        for (weight, template) in &rule.templates {
            let pieces = self.pieces(own, template).map_err(|e| format!("rule `{}`: {e}: {template}", rule.name))?;
            alternatives.push(Alternative { weight: *weight, pieces });
        }
        Ok(Rule { name: rule.name.to_owned(), alternatives })
    }

    fn pieces(&mut self, own_rule: usize, mut template: &'a str) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        while !template.is_empty() {
            let text_len = template.find(['{', '<']).unwrap_or(template.len());
            if text_len > 0 {
                pieces.push(Piece::Text(template[..text_len].to_owned()));
                template = &template[text_len..];
                continue;
            }
            let closing = if template.starts_with('{') { '}' } else { '>' };
            let (inside, rest) = template[1..].split_once(closing).ok_or(format!("no `{closing}`"))?;
            let piece = if closing == '>' { self.expand(own_rule, inside) } else { self.word_piece(inside) };
            pieces.push(piece?);
            template = rest;
        }
        Ok(pieces)
    }

    /// `<rule>`; a rule uses only rules below it, so that no rule can come back to itself.
    fn expand(&self, own_rule: usize, name: &str) -> Result<Piece, String> {
        let rule = *self.rules.get(name).ok_or(format!("there is no rule `{name}`"))?;
        if rule <= own_rule {
            return Err(format!("rule `{name}` must stand below the rules that use it"));
        }
        Ok(Piece::Expand(rule))
    }

    /// `{variable}`, `{variable.form}`, `{variable=list}`, `{variable=list.form}`, `{=list}`, each `=list` with `-other`s.
    fn word_piece(&mut self, inside: &'a str) -> Result<Piece, String> {
        let (inside, form) = inside.split_once('.').unwrap_or((inside, "word"));
        let form = position_or_push(&mut self.forms, form);
        let Some((name, source)) = inside.split_once('=') else {
            return Ok(Piece::Say { variable: self.variable(inside)?, form });
        };
        let mut fields = source.split('-');
        let list = fields.next().unwrap_or_default();
        let list = *self.lists.get(list).ok_or(format!("there is no list `{list}`"))?;
        let except = fields.map(|name| self.variable(name)).collect::<Result<_, _>>()?;
        let variable = if name.is_empty() { None } else { Some(self.variable(name)?) };
        Ok(Piece::Draw { variable, list, form, except })
    }

    fn variable(&mut self, name: &'a str) -> Result<usize, String> {
        let number = position_or_push(&mut self.variables, name);
        if number >= N_VARIABLES_MAX {
            return Err(format!("variable `{name}` is one too many: a grammar has at most {N_VARIABLES_MAX}"));
        }
        Ok(number)
    }

    fn word(&self, weight: u32, columns: &[&str], row: &[&str]) -> Word {
        let forms = self.forms.iter().map(|form| form_of(columns, row, form)).collect();
        Word { weight, forms }
    }
}

/// A column as it stands; `Column` with a capital; `a` for the first column after its indefinite article.
fn form_of(columns: &[&str], row: &[&str], form: &str) -> Option<String> {
    let column = |name: &str| columns.iter().position(|column| *column == name).map(|i| row[i]);
    if let Some(word) = column(form) {
        return Some(word.to_owned());
    }
    if form == "a" || form == "A" {
        let word = column("word")?;
        let vowel = word.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']);
        return Some(format!("{form}{} {word}", if vowel { "n" } else { "" }));
    }
    let lower = column(&form.to_lowercase())?;
    Some(lower[..1].to_uppercase() + &lower[1..])
}

fn numbered<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<HashMap<&'a str, usize>, String> {
    let mut numbers = HashMap::new();
    for (number, name) in names.enumerate() {
        if numbers.insert(name, number).is_some() {
            return Err(format!("there are two {what}s `{name}`"));
        }
    }
    Ok(numbers)
}

fn position_or_push<'a>(names: &mut Vec<&'a str>, name: &'a str) -> usize {
    names.iter().position(|known| *known == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    })
}
