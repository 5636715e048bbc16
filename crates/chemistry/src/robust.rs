//! A way of writing molecules in which every line of symbols is a molecule.
//!
//! ```text
//! C =C C =C C =C r5        benzene: six atoms, and a ring bond to the atom five before
//! C b1 =O N                an amide: the next symbol alone is a branch
//! ```
//! Atoms are written with the bond that leads to them, rings without aromatic symbols. `b3` makes a branch of the next three
//! symbols; `r5` joins the current atom to the one that came five before it, `=r5` by a double bond. What does not fit is made to:
//! a bond that an atom has no room for becomes a smaller one or ends the chain, a ring bond to nowhere is left out, a branch ends
//! with the line. Stereochemistry is not written.
//!
//! # Source
//! The idea is that of SELFIES (Krenn et al., arXiv 1905.13741); numbers stand in the symbols here instead of behind them.

use crate::Molecule;
use crate::smiles::Symbol;
use crate::structure::{Order, Structure};
use chematic::core::{AtomIdx, BondIdx, BondOrder, kekulize};

/// Longest line of symbols that is read.
const MAX_SYMBOLS: usize = 1 << 10;

/// Branches within branches at most.
const MAX_DEPTH: usize = 64;

/// What the numbers of branches and rings go up to.
const MAX_NUMBER: usize = 999;

/// Elements that need no brackets, with the sums of bond orders that they usually have.
const ORGANIC: [(u8, &str, &[u8]); 10] = [
    (5, "B", &[3]),
    (6, "C", &[4]),
    (7, "N", &[3]),
    (8, "O", &[2]),
    (9, "F", &[1]),
    (15, "P", &[3, 5]),
    (16, "S", &[2, 4, 6]),
    (17, "Cl", &[1]),
    (35, "Br", &[1]),
    (53, "I", &[1]),
];

/// The symbols of a molecule; of several parts, of the largest. `None` where a ring is too large or a bond unusual.
pub fn encode(molecule: &Molecule) -> Option<Vec<String>> {
    let structure = Structure::of(molecule);
    let writer = Writer::of(&structure)?;
    let mut symbols = Vec::new();
    let mut order = Written { number: vec![usize::MAX; structure.n_atoms()], n: 0 };
    writer.write(writer.start(), &mut order, &mut symbols)?;
    Some(symbols)
}

/// In which order atoms were written.
struct Written {
    number: Vec<usize>,
    n: usize,
}

/// What is needed to write a molecule.
struct Writer<'s> {
    structure: &'s Structure,
    /// The order of each bond, alternating in rings.
    orders: Vec<u8>,
    /// The atoms of each part of the molecule.
    parts: Vec<Vec<usize>>,
    labels: Vec<String>,
}

impl<'s> Writer<'s> {
    fn of(structure: &'s Structure) -> Option<Self> {
        let alternating = kekulize(&structure.graph).ok()?;
        let order = |(i, (_, _, order, _)): (usize, (usize, usize, Order, bool))| match order {
            Order::Single => Some(1),
            Order::Double => Some(2),
            Order::Triple => Some(3),
            Order::Aromatic => Some(match alternating.get(&BondIdx(i as u32)) {
                Some(BondOrder::Double) => 2,
                _ => 1,
            }),
            Order::Other => None,
        };
        let orders: Vec<u8> = structure.bonds().enumerate().map(order).collect::<Option<_>>()?;
        let mut writer = Self { structure, orders, parts: Vec::new(), labels: Vec::new() };
        writer.labels = (0..structure.n_atoms()).map(|atom| writer.label(atom)).collect();
        writer.parts = writer.parts_of();
        Some(writer)
    }

    /// The neighbours of an atom with the orders of their bonds.
    fn neighbours(&self, atom: usize) -> impl Iterator<Item = (usize, u8)> + '_ {
        let slice = self.structure.graph.neighbor_slice(AtomIdx(atom as u32));
        slice.iter().map(|&(other, bond)| (other.0 as usize, self.orders[bond.0 as usize]))
    }

    fn label(&self, atom: usize) -> String {
        let entry = self.structure.graph.atom(AtomIdx(atom as u32));
        let n_bonds: u8 = self.neighbours(atom).map(|(_, order)| order).sum();
        let implicit = self.structure.graph.implicit_hydrogen_count(AtomIdx(atom as u32));
        let n_hydrogens = entry.hydrogen_count.unwrap_or(implicit);
        let number = self.structure.number(atom);
        let plain = ORGANIC.iter().find(|(known, ..)| *known == number && entry.charge == 0 && entry.isotope.is_none());
        if let Some((_, symbol, valences)) = plain
            && valences.iter().find(|&&valence| valence >= n_bonds) == Some(&(n_bonds + n_hydrogens))
        {
            return (*symbol).to_owned();
        }
        let isotope = entry.isotope.map_or_else(String::new, |isotope| isotope.to_string());
        let symbol = if number == 0 { "*" } else { entry.element.symbol() };
        let hydrogens = match n_hydrogens {
            0 => String::new(),
            1 => "H".to_owned(),
            n => format!("H{n}"),
        };
        let charge = match entry.charge {
            0 => String::new(),
            1 => "+".to_owned(),
            -1 => "-".to_owned(),
            n => format!("{n:+}"),
        };
        format!("[{isotope}{symbol}{hydrogens}{charge}]")
    }

    fn parts_of(&self) -> Vec<Vec<usize>> {
        let n = self.structure.n_atoms();
        let mut seen = vec![false; n];
        let mut parts = Vec::new();
        for first in 0..n {
            if seen[first] {
                continue;
            }
            seen[first] = true;
            let (mut part, mut at) = (vec![first], 0);
            while at < part.len() {
                for (other, _) in self.neighbours(part[at]) {
                    if !seen[other] {
                        seen[other] = true;
                        part.push(other);
                    }
                }
                at += 1;
            }
            parts.push(part);
        }
        parts
    }

    /// The first atom of the largest part.
    fn start(&self) -> usize {
        let largest = self.parts.iter().rev().max_by_key(|part| part.len());
        largest.and_then(|part| part.first()).copied().unwrap_or(0)
    }

    /// Writes an atom and all that hangs on it; with a stack of its own instead of recursion. Each frame is an atom, what leads
    /// to it, and where its symbols begin where it is a branch.
    fn write(&self, start: usize, order: &mut Written, symbols: &mut Vec<String>) -> Option<()> {
        if self.structure.n_atoms() == 0 || self.structure.n_atoms() > MAX_SYMBOLS {
            return None;
        }
        let tree = self.tree(start);
        let mut stack = vec![Step::Atom(start, 0)];
        while let Some(step) = stack.pop() {
            match step {
                Step::End(at) => {
                    let n = symbols.len() - at - 1;
                    if n > MAX_NUMBER {
                        return None;
                    }
                    symbols[at] = format!("b{n}");
                }
                Step::Begin => symbols.push(String::new()),
                Step::Atom(atom, bond) => {
                    order.number[atom] = order.n;
                    order.n += 1;
                    symbols.push(format!("{}{}", prefix(bond), self.labels[atom]));
                    for &(other, bond) in &tree.rings[atom] {
                        let back = order.number[atom].checked_sub(order.number[other])?;
                        if back > MAX_NUMBER {
                            return None;
                        }
                        symbols.push(format!("{}r{back}", prefix(bond)));
                    }
                    let children = &tree.children[atom];
                    for (i, &(child, bond)) in children.iter().enumerate().rev() {
                        stack.push(Step::Branch(child, bond, i + 1 < children.len()));
                    }
                }
                Step::Branch(child, bond, is_branch) => {
                    if is_branch {
                        let at = symbols.len();
                        stack.push(Step::End(at));
                        stack.push(Step::Atom(child, bond));
                        stack.push(Step::Begin);
                    } else {
                        stack.push(Step::Atom(child, bond));
                    }
                }
            }
        }
        Some(())
    }

    /// A tree of the atoms, and the bonds that it leaves out at the later of their atoms.
    fn tree(&self, start: usize) -> Tree {
        let n = self.structure.n_atoms();
        let mut tree = Tree { children: vec![Vec::new(); n], rings: vec![Vec::new(); n] };
        let mut number = vec![usize::MAX; n];
        let mut n_seen = 0;
        // An atom, where it came from, and how many of its neighbours were looked at.
        let mut stack = vec![(start, usize::MAX, 0)];
        while let Some((atom, from, i)) = stack.last_mut() {
            if *i == 0 {
                number[*atom] = n_seen;
                n_seen += 1;
            }
            let Some((other, bond)) = self.neighbours(*atom).nth(*i) else {
                stack.pop();
                continue;
            };
            *i += 1;
            let (atom, from) = (*atom, *from);
            if other == from {
                continue;
            }
            if number[other] == usize::MAX {
                tree.children[atom].push((other, bond));
                stack.push((other, atom, 0));
            } else if number[other] < number[atom] {
                tree.rings[atom].push((other, bond));
            }
        }
        tree
    }
}

/// What is still to be written.
enum Step {
    Atom(usize, u8),
    Branch(usize, u8, bool),
    Begin,
    End(usize),
}

/// A molecule without its ring bonds.
struct Tree {
    children: Vec<Vec<(usize, u8)>>,
    rings: Vec<Vec<(usize, u8)>>,
}

fn prefix(bond: u8) -> &'static str {
    match bond {
        2 => "=",
        3 => "#",
        _ => "",
    }
}

/// An atom of a molecule that is being read.
struct Read {
    label: String,
    room: u8,
    /// The atom that it hangs on, and by what bond.
    from: Option<(usize, u8)>,
    /// Ring bonds to earlier atoms.
    rings: Vec<(usize, u8)>,
}

/// The SMILES of a line of symbols, whatever they are; a lone carbon where there is no atom.
pub fn decode<'s>(symbols: impl IntoIterator<Item = &'s str>) -> String {
    let mut atoms: Vec<Read> = Vec::new();
    let mut current: Option<usize> = None;
    // Where branches began, and how many of their symbols are left.
    let mut branches: Vec<(Option<usize>, usize)> = Vec::new();
    for symbol in symbols.into_iter().take(MAX_SYMBOLS) {
        match parse(symbol) {
            Some(Meaning::Atom(bond, label, room)) => place(&mut atoms, &mut current, bond, label, room),
            Some(Meaning::Ring(bond, back)) => close(&mut atoms, current, bond, back),
            Some(Meaning::Branch(n)) if branches.len() < MAX_DEPTH => {
                if current.is_some_and(|atom| atoms[atom].room > 0) {
                    // One more, which this symbol itself takes below.
                    branches.push((current, n + 1));
                }
            }
            Some(Meaning::Branch(_)) | None => {}
        }
        branches.iter_mut().for_each(|(_, left)| *left = left.saturating_sub(1));
        while let Some(&(atom, 0)) = branches.last() {
            current = atom;
            branches.pop();
        }
    }
    if atoms.is_empty() { "C".to_owned() } else { text(&atoms) }
}

/// What a symbol says.
enum Meaning<'s> {
    Atom(u8, &'s str, u8),
    Ring(u8, usize),
    Branch(usize),
}

fn parse(symbol: &str) -> Option<Meaning<'_>> {
    let (bond, rest) = match symbol.as_bytes().first()? {
        b'=' => (2, &symbol[1..]),
        b'#' => (3, &symbol[1..]),
        _ => (1, symbol),
    };
    let number = |text: &str| text.parse::<usize>().ok().filter(|n| (1..=MAX_NUMBER).contains(n));
    if let Some(n) = rest.strip_prefix('r').and_then(number) {
        return Some(Meaning::Ring(bond, n));
    }
    if let Some(n) = rest.strip_prefix('b').and_then(number) {
        return Some(Meaning::Branch(n));
    }
    match Symbol::parse(rest)? {
        Symbol::Atom(atom) if !atom.is_aromatic => Some(Meaning::Atom(bond, rest, atom.most_new_bonds()?)),
        _ => None,
    }
}

/// Puts an atom behind the current one, by as many bonds as both have room for; where there is no room, it is left out.
fn place(atoms: &mut Vec<Read>, current: &mut Option<usize>, bond: u8, label: &str, room: u8) {
    let new = atoms.len();
    let Some(at) = *current else {
        if new == 0 {
            atoms.push(Read { label: label.to_owned(), room, from: None, rings: Vec::new() });
            *current = Some(0);
        }
        return;
    };
    let bond = bond.min(atoms[at].room).min(room);
    if bond == 0 {
        return;
    }
    atoms[at].room -= bond;
    atoms.push(Read { label: label.to_owned(), room: room - bond, from: Some((at, bond)), rings: Vec::new() });
    *current = Some(new);
}

/// Joins the current atom to an earlier one, where both have room and are not joined.
fn close(atoms: &mut [Read], current: Option<usize>, bond: u8, back: usize) {
    let Some(at) = current else { return };
    let other = at.saturating_sub(back);
    let is_joined = |a: usize, b: usize, atoms: &[Read]| {
        atoms[a].from.is_some_and(|(from, _)| from == b) || atoms[a].rings.iter().any(|(ring, _)| *ring == b)
    };
    let bond = bond.min(atoms[at].room).min(atoms[other].room);
    if other == at || bond == 0 || is_joined(at, other, atoms) || is_joined(other, at, atoms) {
        return;
    }
    atoms[at].room -= bond;
    atoms[other].room -= bond;
    atoms[at].rings.push((other, bond));
}

/// Writes atoms as SMILES.
fn text(atoms: &[Read]) -> String {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); atoms.len()];
    let mut rings: Vec<Vec<(usize, u8)>> = vec![Vec::new(); atoms.len()];
    let mut n_rings = 0;
    for (i, atom) in atoms.iter().enumerate() {
        if let Some((from, _)) = atom.from {
            children[from].push(i);
        }
        for &(other, bond) in &atom.rings {
            n_rings += 1;
            rings[other].push((n_rings, bond));
            rings[i].push((n_rings, bond));
        }
    }
    let mut numbers: Vec<Option<usize>> = vec![None; n_rings + 1];
    let mut free: Vec<usize> = (1..100).rev().collect();
    let (mut line, mut stack) = (String::new(), vec![Some((0, false))]);
    while let Some(item) = stack.pop() {
        let Some((i, is_branch)) = item else {
            line.push(')');
            continue;
        };
        if is_branch {
            line.push('(');
        }
        line += prefix(atoms[i].from.map_or(1, |(_, bond)| bond));
        line += &atoms[i].label;
        for &(ring, bond) in &rings[i] {
            let (number, is_first) = match numbers[ring] {
                Some(number) => (number, false),
                None => {
                    // Beyond ninety-nine open rings a bond is left out, which leaves a molecule.
                    let Some(number) = free.pop() else { continue };
                    numbers[ring] = Some(number);
                    (number, true)
                }
            };
            if is_first {
                line += prefix(bond);
            } else {
                free.push(number);
            }
            line += &if number < 10 { number.to_string() } else { format!("%{number}") };
        }
        for (k, &child) in children[i].iter().enumerate().rev() {
            let is_branch = k + 1 < children[i].len();
            if is_branch {
                stack.push(None);
            }
            stack.push(Some((child, is_branch)));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::is_valid;

    #[test]
    fn molecules_come_back() {
        for smiles in [
            "C",
            "CCO",
            "c1ccccc1",
            "CC(C)(C)C(=O)C(Oc1ccc(Cl)cc1)n1ccnc1",
            "Cn1cnc2c1c(=O)n(CC(O)CO)c(=O)n2C",
            "CCCS(=O)c1ccc2[nH]c(=NC(=O)OC)[nH]c2c1",
            "C[N+](=O)[O-]",
            "N#Cc1ccccc1",
            "C1CC2CCC1CC2",
            "CS(=O)(=O)N",
            "O=c1cc[nH]c(=O)[nH]1",
            "c1ccc2c(c1)ccc1ccccc12",
        ] {
            let molecule = Molecule::parse(smiles).unwrap();
            let symbols = encode(&molecule).unwrap();
            let decoded = decode(symbols.iter().map(String::as_str));
            let again = Molecule::parse(&decoded).unwrap_or_else(|| panic!("{smiles}: {symbols:?} gave {decoded}"));
            assert_eq!(again.canonical(), molecule.canonical(), "{symbols:?} gave {decoded}");
        }
    }

    #[test]
    fn every_line_of_symbols_is_a_molecule() {
        let symbols = [
            "C", "=C", "#C", "N", "=N", "#N", "O", "=O", "F", "S", "=S", "[N+]", "[O-]", "b1", "b2", "b7", "r1", "r2",
            "r5", "=r4", "r99", "Cl", "P", "nonsense", "", "b", "r0", "[nH]",
        ];
        let mut state = 7_u64;
        for i in 0..3000 {
            let line: Vec<&str> = (0..i % 60)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    symbols[(state >> 33) as usize % symbols.len()]
                })
                .collect();
            let smiles = decode(line.iter().copied());
            assert!(is_valid(&smiles), "{line:?} gave {smiles}");
        }
    }
}
