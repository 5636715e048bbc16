//! Parts of molecules: scaffolds, and what is left when bonds are cut that a chemist would make (BRICS).
//!
//! The fragments of `chematic` 1.2 carry no numbers of environments and are cut at other bonds than RDKit's, so the rules stand
//! here.
//!
//! # Source
//! Degen et al., "On the Art of Compiling and Using 'Drug-Like' Chemical Fragment Spaces", ChemMedChem 2008, with RDKit's
//! changes (`rdkit/Chem/BRICS.py`, whose patterns the comments give).

use crate::Molecule;
use crate::structure::{Order, Structure};
use chematic::core::{Atom, AtomIdx, BondOrder, MoleculeBuilder};
use chematic::smiles::{rdkit_canonical_smiles, rdkit_murcko_scaffold};

/// An environment of an atom at a bond that may be cut.
type Environment = fn(&Structure, usize) -> bool;

/// The number of an environment with its rule.
const ENVIRONMENTS: [(u16, Environment); 15] = [
    // [C;D3]([#0,#6,#7,#8])(=O)
    (1, |s, a| is(s, a, 6) && s.degree(a) == 3 && has_oxo(s, a) && has_plain(s, a, &[0, 6, 7, 8])),
    // [O;D2]-;!@[#0,#6,#1]
    (3, |s, a| is(s, a, 8) && s.degree(a) == 2 && has_single(s, a, false, &[0, 6, 1])),
    // [C;!D1;!$(C=*)]-;!@[#6]
    (4, |s, a| is(s, a, 6) && s.degree(a) != 1 && !has_double(s, a) && has_single(s, a, false, &[6])),
    // [N;!D1;!$(N=*);!$(N-[!#6;!#16;!#0;!#1]);!$([N;R]@[C;R]=O)]
    (5, |s, a| {
        let beside_other =
            |n: crate::structure::Neighbour| n.order == Order::Single && ![6, 16, 0, 1].contains(&s.number(n.atom));
        let beside_carbonyl = |n: crate::structure::Neighbour| n.in_ring && is(s, n.atom, 6) && has_oxo(s, n.atom);
        is(s, a, 7)
            && s.degree(a) != 1
            && !has_double(s, a)
            && !s.neighbours(a).any(beside_other)
            && !s.neighbours(a).any(beside_carbonyl)
    }),
    // [C;D3;!R](=O)-;!@[#0,#6,#7,#8]
    (6, |s, a| {
        is(s, a, 6) && s.degree(a) == 3 && !s.in_ring(a) && has_oxo(s, a) && has_single(s, a, false, &[0, 6, 7, 8])
    }),
    // [C;D2,D3]-[#6]
    (7, |s, a| {
        let beside_carbon = |n: crate::structure::Neighbour| n.order == Order::Single && s.number(n.atom) == 6;
        is(s, a, 6) && [2, 3].contains(&s.degree(a)) && s.neighbours(a).any(beside_carbon)
    }),
    // [C;!R;!D1;!$(C!-*)]
    (8, |s, a| is(s, a, 6) && !s.in_ring(a) && s.degree(a) != 1 && s.neighbours(a).all(|n| n.order == Order::Single)),
    // [n;+0;$(n(:[c,n,o,s]):[c,n,o,s])]
    (9, |s, a| is_aromatic(s, a, 7) && s.charge(a) == 0 && n_aromatic(s, a, &[6, 7, 8, 16]) >= 2),
    // [N;R;$(N(@C(=O))@[C,N,O,S])]
    (10, |s, a| {
        is(s, a, 7) && pair_in_ring(s, a, |b| is(s, b, 6) && has_oxo(s, b), |b| is_one_of(s, b, &[6, 7, 8, 16]))
    }),
    // [S;D2](-;!@[#0,#6])
    (11, |s, a| is(s, a, 16) && s.degree(a) == 2 && has_single(s, a, false, &[0, 6])),
    // [S;D4]([#6,#0])(=O)(=O)
    (12, |s, a| is(s, a, 16) && s.degree(a) == 4 && n_oxo(s, a) >= 2 && has_plain(s, a, &[6, 0])),
    // [C;$(C(-;@[C,N,O,S])-;@[N,O,S])]
    (13, |s, a| is(s, a, 6) && single_pair_in_ring(s, a, &[6, 7, 8, 16], &[7, 8, 16])),
    // [c;$(c(:[c,n,o,s]):[n,o,s])]
    (14, |s, a| is_aromatic(s, a, 6) && n_aromatic(s, a, &[7, 8, 16]) >= 1 && n_aromatic(s, a, &[6, 7, 8, 16]) >= 2),
    // [C;$(C(-;@C)-;@C)]
    (15, |s, a| is(s, a, 6) && single_pair_in_ring(s, a, &[6], &[6])),
    // [c;$(c(:c):c)]
    (16, |s, a| is_aromatic(s, a, 6) && n_aromatic(s, a, &[6]) >= 2),
];

/// Pairs of environments whose bond is cut, in the order in which they are looked for; 7 with 7 at a double bond.
const PAIRS: [(u16, u16); 46] = [
    (1, 3),
    (1, 5),
    (1, 10),
    (3, 4),
    (3, 13),
    (3, 14),
    (3, 15),
    (3, 16),
    (4, 5),
    (4, 11),
    (5, 12),
    (5, 14),
    (5, 16),
    (5, 13),
    (5, 15),
    (6, 13),
    (6, 14),
    (6, 15),
    (6, 16),
    (7, 7),
    (8, 9),
    (8, 10),
    (8, 13),
    (8, 14),
    (8, 15),
    (8, 16),
    (9, 13),
    (9, 14),
    (9, 15),
    (9, 16),
    (10, 13),
    (10, 14),
    (10, 15),
    (10, 16),
    (11, 13),
    (11, 14),
    (11, 15),
    (11, 16),
    (13, 14),
    (13, 15),
    (13, 16),
    (14, 14),
    (14, 15),
    (14, 16),
    (15, 16),
    (16, 16),
];

fn is(s: &Structure, atom: usize, number: u8) -> bool {
    s.number(atom) == number && !s.is_aromatic(atom)
}

fn is_one_of(s: &Structure, atom: usize, numbers: &[u8]) -> bool {
    numbers.contains(&s.number(atom)) && !s.is_aromatic(atom)
}

fn is_aromatic(s: &Structure, atom: usize, number: u8) -> bool {
    s.number(atom) == number && s.is_aromatic(atom)
}

fn n_oxo(s: &Structure, atom: usize) -> usize {
    s.neighbours(atom).filter(|n| n.order == Order::Double && is(s, n.atom, 8)).count()
}

fn has_oxo(s: &Structure, atom: usize) -> bool {
    n_oxo(s, atom) > 0
}

fn has_double(s: &Structure, atom: usize) -> bool {
    s.neighbours(atom).any(|n| n.order == Order::Double)
}

/// A single or aromatic bond to one of these elements.
fn has_plain(s: &Structure, atom: usize, numbers: &[u8]) -> bool {
    let is_plain = |order| matches!(order, Order::Single | Order::Aromatic);
    s.neighbours(atom).any(|n| is_plain(n.order) && numbers.contains(&s.number(n.atom)))
}

fn has_single(s: &Structure, atom: usize, in_ring: bool, numbers: &[u8]) -> bool {
    s.neighbours(atom).any(|n| n.order == Order::Single && n.in_ring == in_ring && numbers.contains(&s.number(n.atom)))
}

fn n_aromatic(s: &Structure, atom: usize, numbers: &[u8]) -> usize {
    s.neighbours(atom).filter(|n| n.order == Order::Aromatic && numbers.contains(&s.number(n.atom))).count()
}

/// Two different neighbours by bonds of rings, one of either kind.
fn pair_in_ring(s: &Structure, atom: usize, a: impl Fn(usize) -> bool, b: impl Fn(usize) -> bool) -> bool {
    let of: Vec<usize> = s.neighbours(atom).filter(|n| n.in_ring).map(|n| n.atom).collect();
    of.iter().any(|&x| a(x) && of.iter().any(|&y| x != y && b(y)))
}

/// As [`pair_in_ring`], by single bonds, of elements that are not aromatic.
fn single_pair_in_ring(s: &Structure, atom: usize, a: &[u8], b: &[u8]) -> bool {
    let of: Vec<usize> = s.neighbours(atom).filter(|n| n.in_ring && n.order == Order::Single).map(|n| n.atom).collect();
    of.iter().any(|&x| is_one_of(s, x, a) && of.iter().any(|&y| x != y && is_one_of(s, y, b)))
}

/// The environments of an atom, a bit each.
fn environments(structure: &Structure, atom: usize) -> u32 {
    let bit = |(number, rule): &(u16, Environment)| u32::from(rule(structure, atom)) << number;
    ENVIRONMENTS.iter().map(bit).fold(0, |all, bit| all | bit)
}

/// The numbers of the environments at both ends of a bond, where it is cut.
fn cut(a: u32, b: u32, is_double: bool) -> Option<(u16, u16)> {
    let has = |bits: u32, number: u16| bits >> number & 1 == 1;
    let found = |&(x, y): &(u16, u16)| {
        if (x == 7) != is_double {
            return None;
        }
        if has(a, x) && has(b, y) {
            return Some((x, y));
        }
        (has(a, y) && has(b, x)).then_some((y, x))
    };
    // Where several fit, RDKit names the last: of a carbon in a ring that ring, not its chain.
    PAIRS.iter().rev().find_map(found)
}

impl Molecule {
    /// Its scaffold, all rings and what joins them, when that has at least `n_rings` rings.
    ///
    /// # Source
    /// Bemis and Murcko, "The Properties of Known Drugs", 1996.
    pub fn scaffold(&self, n_rings: usize) -> Option<String> {
        let scaffold = rdkit_murcko_scaffold(self.graph()).ok().filter(|scaffold| !scaffold.is_empty())?;
        let n = chematic::chem::rdkit_num_rings(self.graph());
        (n >= n_rings).then_some(scaffold)
    }

    /// The parts that are left when every bond is cut that BRICS names, each with the numbers of the environments at its cuts;
    /// the molecule itself where there is none.
    pub fn fragments(&self) -> Vec<String> {
        let structure = Structure::of(self);
        let of_atom: Vec<u32> = (0..structure.n_atoms()).map(|atom| environments(&structure, atom)).collect();
        let mut builder = MoleculeBuilder::new();
        for (_, atom) in structure.graph.atoms() {
            builder.add_atom(atom.clone());
        }
        let mut is_cut = false;
        for (a, b, order, in_ring) in structure.bonds() {
            let (first, second) = (a.min(b), a.max(b));
            let found = match order {
                Order::Single | Order::Double if !in_ring => {
                    cut(of_atom[first], of_atom[second], order == Order::Double)
                }
                _ => None,
            };
            let bond = match order {
                Order::Single | Order::Other => BondOrder::Single,
                Order::Double => BondOrder::Double,
                Order::Triple => BondOrder::Triple,
                Order::Aromatic => BondOrder::Aromatic,
            };
            let (a, b) = (AtomIdx(first as u32), AtomIdx(second as u32));
            let Some((at_a, at_b)) = found else {
                let _ = builder.add_bond(a, b, bond);
                continue;
            };
            is_cut = true;
            for (atom, number) in [(a, at_a), (b, at_b)] {
                let end = builder.add_atom(Atom { isotope: Some(number), ..Atom::wildcard() });
                let _ = builder.add_bond(atom, end, bond);
            }
        }
        let whole = if is_cut { rdkit_canonical_smiles(&builder.build()).ok() } else { None };
        whole.as_deref().unwrap_or(self.canonical()).split('.').map(str::to_owned).collect()
    }
}
