//! The beginning of a line, and what may come next.

use super::aromatic;
use super::element::charged_valences;
use super::symbol::{Atom, Bond, MAX_LINE_BYTES, Symbol, symbols};
use std::fmt::{self, Display, Formatter};

/// Why a symbol may not come, or a line not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// What stands there is no symbol of SMILES.
    NoSymbol,
    /// There is no atom for a bond, branch or ring bond to begin at.
    NoAtom,
    /// A bond that leads nowhere, or two bonds in a row.
    LooseBond,
    /// A branch that is empty, not closed, or closed without being open.
    Branch,
    /// A ring bond that is never closed, or leads to its own atom or to a neighbour.
    RingBond,
    /// Its two ends say two different bonds.
    RingBondOrder,
    /// An atom has more bonds than it can have.
    Valence,
    /// An aromatic atom stands in no ring, or double and single bonds cannot alternate.
    Aromatic,
    /// The line is too long.
    TooLong,
}

impl Fault {
    /// Whether the line is malformed, whatever the chemistry.
    pub fn is_of_form(self) -> bool {
        !matches!(self, Fault::Valence | Fault::Aromatic | Fault::TooLong)
    }

    /// What is wrong, in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::NoSymbol => "no SMILES: a symbol that the format does not know",
            Fault::NoAtom => "no SMILES: a bond, branch or ring number without an atom before it",
            Fault::LooseBond => "no SMILES: a bond that leads nowhere",
            Fault::Branch => "no SMILES: brackets of branches do not pair",
            Fault::RingBond => "no SMILES: ring numbers do not pair",
            Fault::RingBondOrder => "no SMILES: a ring number whose two ends name different bonds",
            Fault::Valence => "no molecule: an atom with more bonds than it can have",
            Fault::Aromatic => "no molecule: aromatic atoms outside of rings or without alternating bonds",
            Fault::TooLong => "no SMILES: the line is too long",
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An atom of the beginning of a line.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) atom: Atom,
    /// Sum of the orders of its bonds, an aromatic one counting as single; open ring bonds hold their place.
    pub(super) n_bonds: u8,
    /// Ring bonds that it waits for.
    pub(super) n_open: u8,
    /// Its aromatic bonds.
    n_aromatic: u8,
}

/// A bond between two atoms of the beginning of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    pub(super) ends: [usize; 2],
    pub(super) is_aromatic: bool,
}

/// A ring bond that waits for its other end.
#[derive(Clone, Copy, Debug)]
struct OpenRing {
    number: u8,
    atom: usize,
    bond: Option<Bond>,
}

/// What stood before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Nothing of this part of the molecule.
    Start,
    /// An atom, a ring number or the end of a branch.
    Atom,
    /// The beginning of a branch.
    Open,
    /// A bond.
    Bond(Bond),
}

/// Most atoms of a molecule: what is bigger is no small molecule, and would take long to look at.
const MAX_ATOMS: usize = 1 << 10;

/// Aromatic bonds of an atom at most: four count as six.
const MOST_AROMATIC: u8 = 3;

/// The beginning of a line.
#[derive(Clone, Debug)]
pub struct Prefix {
    pub(super) atoms: Vec<Placed>,
    pub(super) bonds: Vec<Joined>,
    rings: Vec<OpenRing>,
    /// The atoms at which the branches begin that are open.
    pub(super) branches: Vec<usize>,
    /// The atom that the next one is joined to.
    pub(super) current: Option<usize>,
    last: Last,
}

impl Default for Prefix {
    fn default() -> Self {
        Self {
            atoms: Vec::new(),
            bonds: Vec::new(),
            rings: Vec::new(),
            branches: Vec::new(),
            current: None,
            last: Last::Start,
        }
    }
}

impl Prefix {
    /// The beginning of every line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Follows a whole line.
    ///
    /// # Errors
    /// When it is no molecule, and why. Some few that RDKit mends (such as nitrogen with five bonds) are refused as well.
    pub fn check(line: &str) -> Result<(), Fault> {
        if line.len() > MAX_LINE_BYTES {
            return Err(Fault::TooLong);
        }
        let mut prefix = Self::new();
        for symbol in symbols(line) {
            let symbol = symbol.ok().and_then(Symbol::parse).ok_or(Fault::NoSymbol)?;
            prefix.push(symbol)?;
        }
        prefix.may_end()
    }

    /// Goes on with a symbol.
    ///
    /// # Errors
    /// When it may not come here: then the prefix is of no use any more. That aromatic bonds alternate is only looked at by
    /// [`Self::allows`] and [`Self::may_end`].
    pub fn push(&mut self, symbol: Symbol) -> Result<(), Fault> {
        match symbol {
            Symbol::Atom(atom) => self.push_atom(atom),
            Symbol::Bond(bond) => self.push_bond(bond),
            Symbol::Open => self.open_branch(),
            Symbol::Close => self.close_branch(),
            Symbol::Ring(number) => self.push_ring(number),
            Symbol::Dot => self.push_dot(),
        }
    }

    /// Whether a molecule can still come of it when this symbol comes next.
    pub fn allows(&self, symbol: Symbol) -> bool {
        if !self.is_likely(symbol) {
            return false;
        }
        let mut next = self.clone();
        next.push(symbol).is_ok() && next.can_close_rings() && aromatic::can_be_completed(&next)
    }

    /// Refuses cheaply what most symbols at most places are refused for: [`Self::allows`] allows none that is not likely.
    pub fn is_likely(&self, symbol: Symbol) -> bool {
        match symbol {
            Symbol::Bond(bond) => self.room() >= order(bond) && matches!(self.last, Last::Atom | Last::Open),
            Symbol::Open => self.last == Last::Atom && self.room() > 0,
            Symbol::Close => self.last == Last::Atom && !self.branches.is_empty(),
            Symbol::Dot => self.last == Last::Atom && self.branches.is_empty() && self.rings.is_empty(),
            Symbol::Ring(_) => self.last != Last::Open && self.current.is_some(),
            Symbol::Atom(_) => self.last == Last::Start || self.room() > 0,
        }
    }

    /// Whether every ring bond can still be closed: at an atom that is to come.
    fn can_close_rings(&self) -> bool {
        let has_room = |&atom: &usize| self.atoms[atom].room() > 0;
        self.rings.is_empty() || self.branches.iter().chain(&self.current).any(has_room)
    }

    /// Whether the line may end here.
    ///
    /// # Errors
    /// Why not.
    pub fn may_end(&self) -> Result<(), Fault> {
        self.is_closed()?;
        if aromatic::is_complete(self) { Ok(()) } else { Err(Fault::Aromatic) }
    }

    /// Whether nothing is open, so that the line may end here as far as its form tells.
    ///
    /// # Errors
    /// What is open.
    pub fn is_closed(&self) -> Result<(), Fault> {
        match self.last {
            Last::Start => return Err(Fault::NoAtom),
            Last::Bond(_) => return Err(Fault::LooseBond),
            Last::Open => return Err(Fault::Branch),
            Last::Atom => {}
        }
        if !self.branches.is_empty() {
            return Err(Fault::Branch);
        }
        if !self.rings.is_empty() {
            return Err(Fault::RingBond);
        }
        Ok(())
    }

    /// Number of ring bonds and branches that are open: so many symbols are needed at least before the line can end.
    pub fn n_open(&self) -> usize {
        self.branches.len() + self.rings.len()
    }

    /// Bonds that the current atom can still have.
    fn room(&self) -> u8 {
        self.current.map_or(0, |current| self.atoms[current].room())
    }

    fn push_atom(&mut self, atom: Atom) -> Result<(), Fault> {
        let new = self.atoms.len();
        if new >= MAX_ATOMS {
            return Err(Fault::TooLong);
        }
        let placed = Placed { atom, n_bonds: 0, n_open: 0, n_aromatic: 0 };
        if !placed.is_legal() {
            return Err(Fault::Valence);
        }
        self.atoms.push(placed);
        match (self.last, self.current) {
            (Last::Start, _) => {}
            (last, Some(current)) => {
                self.join(current, new, if let Last::Bond(bond) = last { Some(bond) } else { None })?
            }
            (_, None) => return Err(Fault::NoAtom),
        }
        (self.current, self.last) = (Some(new), Last::Atom);
        Ok(())
    }

    fn push_bond(&mut self, bond: Bond) -> Result<(), Fault> {
        match self.last {
            Last::Atom | Last::Open if self.room() >= order(bond) => {
                self.last = Last::Bond(bond);
                Ok(())
            }
            Last::Atom | Last::Open => Err(Fault::Valence),
            Last::Bond(_) => Err(Fault::LooseBond),
            Last::Start => Err(Fault::NoAtom),
        }
    }

    fn open_branch(&mut self) -> Result<(), Fault> {
        match (self.last, self.current) {
            (Last::Atom, Some(current)) => {
                self.branches.push(current);
                self.last = Last::Open;
                Ok(())
            }
            (Last::Start, _) | (_, None) => Err(Fault::NoAtom),
            (Last::Bond(_), _) => Err(Fault::LooseBond),
            (Last::Open, _) => Err(Fault::Branch),
        }
    }

    fn close_branch(&mut self) -> Result<(), Fault> {
        match self.last {
            Last::Atom => {}
            Last::Bond(_) => return Err(Fault::LooseBond),
            Last::Open | Last::Start => return Err(Fault::Branch),
        }
        self.current = Some(self.branches.pop().ok_or(Fault::Branch)?);
        Ok(())
    }

    fn push_dot(&mut self) -> Result<(), Fault> {
        match self.last {
            Last::Atom if self.branches.is_empty() => {
                (self.current, self.last) = (None, Last::Start);
                Ok(())
            }
            Last::Bond(_) => Err(Fault::LooseBond),
            Last::Start => Err(Fault::NoAtom),
            Last::Atom | Last::Open => Err(Fault::Branch),
        }
    }

    fn push_ring(&mut self, number: u8) -> Result<(), Fault> {
        let bond = match self.last {
            Last::Atom => None,
            Last::Bond(bond) => Some(bond),
            Last::Open => return Err(Fault::Branch),
            Last::Start => return Err(Fault::NoAtom),
        };
        let current = self.current.ok_or(Fault::NoAtom)?;
        self.last = Last::Atom;
        let Some(at) = self.rings.iter().position(|ring| ring.number == number) else {
            return self.open_ring(OpenRing { number, atom: current, bond });
        };
        let ring = self.rings.remove(at);
        let placed = &mut self.atoms[ring.atom];
        placed.n_open -= 1;
        placed.n_bonds -= ring.bond.map_or(1, order);
        let bond = match (ring.bond, bond) {
            (Some(a), Some(b)) if a != b => return Err(Fault::RingBondOrder),
            (a, b) => a.or(b),
        };
        let is_neighbour = |joined: &Joined| joined.ends == [ring.atom, current] || joined.ends == [current, ring.atom];
        if ring.atom == current || self.bonds.iter().any(is_neighbour) {
            return Err(Fault::RingBond);
        }
        self.join(ring.atom, current, bond)
    }

    fn open_ring(&mut self, ring: OpenRing) -> Result<(), Fault> {
        let placed = &mut self.atoms[ring.atom];
        let order = ring.bond.map_or(1, order);
        if placed.room() < order {
            return Err(Fault::Valence);
        }
        placed.n_bonds += order;
        placed.n_open += 1;
        self.rings.push(ring);
        Ok(())
    }

    fn join(&mut self, a: usize, b: usize, bond: Option<Bond>) -> Result<(), Fault> {
        let n = bond.map_or(1, order);
        for end in [a, b] {
            if self.atoms[end].room() < n {
                return Err(Fault::Valence);
            }
            self.atoms[end].n_bonds += n;
        }
        let both = self.atoms[a].atom.is_aromatic && self.atoms[b].atom.is_aromatic;
        if bond == Some(Bond::Aromatic) && !both {
            return Err(Fault::Aromatic);
        }
        let is_aromatic = both && matches!(bond, None | Some(Bond::Aromatic));
        for end in [a, b].into_iter().filter(|_| is_aromatic) {
            self.atoms[end].n_aromatic += 1;
            if self.atoms[end].n_aromatic > MOST_AROMATIC {
                return Err(Fault::Valence);
            }
        }
        self.bonds.push(Joined { ends: [a, b], is_aromatic });
        Ok(())
    }
}

impl Atom {
    /// Bonds that it can have beside its hydrogens; `None` where that is more than any atom of small molecules has, or where it
    /// has too many hydrogens already.
    pub(crate) fn most_new_bonds(self) -> Option<u8> {
        let placed = Placed { atom: self, n_bonds: 0, n_open: 0, n_aromatic: 0 };
        (placed.is_legal() && placed.most_bonds() < u8::MAX).then(|| placed.room())
    }
}

impl Placed {
    /// The greatest sum of bond orders, hydrogens in brackets not counted.
    fn most_bonds(&self) -> u8 {
        let atom = &self.atom;
        let Some((least, most)) = charged_valences(atom.number, atom.charge) else { return u8::MAX };
        // An aromatic atom keeps to its usual valence: what more it could have is for other kinds of rings.
        if atom.is_aromatic { least } else { most }
    }

    fn is_legal(&self) -> bool {
        self.n_bonds.saturating_add(self.atom.n_hydrogens.unwrap_or(0)) <= self.most_bonds()
    }

    /// Bonds that it can still have.
    pub(super) fn room(&self) -> u8 {
        self.most_bonds().saturating_sub(self.n_bonds.saturating_add(self.atom.n_hydrogens.unwrap_or(0)))
    }

    /// Whether one of its aromatic bonds must be double, so that its valence is full.
    pub(super) fn needs_double(&self) -> bool {
        if !self.atom.is_aromatic {
            return false;
        }
        match double_at(self.atom) {
            // A carbon outside of brackets has as many hydrogens as leave room for the double bond.
            n if self.atom.n_hydrogens.is_none() && self.atom.number == 6 => self.n_bonds <= n,
            n => self.n_bonds == n,
        }
    }
}

/// The number of single bonds with which an aromatic atom needs a double one; as many as no atom has, where it never does.
fn double_at(atom: Atom) -> u8 {
    let valences = charged_valences(atom.number, atom.charge);
    valences.map_or(u8::MAX, |(least, _)| least.wrapping_sub(1 + atom.n_hydrogens.unwrap_or(0)))
}

/// How many bonds of an atom a bond takes up.
fn order(bond: Bond) -> u8 {
    match bond {
        Bond::Single | Bond::Aromatic => 1,
        Bond::Double => 2,
        Bond::Triple => 3,
        Bond::Quadruple => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn molecules_are_accepted() {
        for line in [
            "C",
            "CCO",
            "c1ccccc1",
            "CC(C)(C)C(=O)C(Oc1ccc(Cl)cc1)n1ccnc1",
            "Cn1cnc2c1c(=O)n(CC(O)CO)c(=O)n2C",
            "c1ccc2[nH]ccc2c1",
            "O=C1C=CC(=O)N1",
            "[Na+].[Cl-]",
            "C1CC1.C2CC2",
            "c1ccccc1c1ccccc1",
            "C%12CC%12",
            "CS(=O)(=O)N",
            "C[N+](=O)[O-]",
            "F/C=C/F",
            "N[C@@H](C)C(=O)O",
            "c1cc[n+](C)cc1",
            "O=c1cc[nH]c(=O)[nH]1",
            "c1ccoc1",
            "c1cc2cccc3ccc(c1)c23",
            "[H][H]",
            "OP(=O)(O)O",
            "C1=CC=CC=C1",
            "c1ccc(-c2ccccc2)cc1",
        ] {
            assert_eq!(Prefix::check(line), Ok(()), "{line}");
        }
    }

    #[test]
    fn what_is_no_molecule_is_refused_with_the_reason() {
        for (line, fault) in [
            ("", Fault::NoAtom),
            ("=C", Fault::NoAtom),
            ("C=", Fault::LooseBond),
            ("C(", Fault::Branch),
            ("C()C", Fault::Branch),
            ("CC)C", Fault::Branch),
            ("C1CC", Fault::RingBond),
            ("C11", Fault::RingBond),
            ("C1C1", Fault::RingBond),
            ("C=1CC-1", Fault::RingBondOrder),
            ("C(C)(C)(C)(C)C", Fault::Valence),
            ("O=O=O", Fault::Valence),
            ("FC#N=C", Fault::Valence),
            ("[CH5]", Fault::Valence),
            ("cc", Fault::Aromatic),
            ("c1cccc1", Fault::Aromatic),
            ("c1ccncc1c", Fault::Aromatic),
            ("c1ccc2nccc2c1", Fault::Aromatic),
            ("C[Xx]", Fault::NoSymbol),
            ("hello", Fault::NoSymbol),
        ] {
            assert_eq!(Prefix::check(line), Err(fault), "{line}");
        }
        assert_eq!(Prefix::check(&"C".repeat(1 << 17)), Err(Fault::TooLong));
        assert_eq!(Prefix::check(&"C(".repeat(3000)), Err(Fault::TooLong));
    }

    #[test]
    fn every_symbol_of_a_molecule_is_allowed_where_it_stands() {
        for line in ["CC(C)(C)C(=O)C(Oc1ccc(Cl)cc1)n1ccnc1", "Cn1cnc2c1c(=O)n(CC(O)CO)c(=O)n2C", "c1ccc2[nH]ccc2c1"] {
            let mut prefix = Prefix::new();
            for text in symbols(line) {
                let symbol = Symbol::parse(text.unwrap()).unwrap();
                assert!(prefix.allows(symbol), "{line}: {text:?}");
                prefix.push(symbol).unwrap();
            }
        }
    }

    #[test]
    fn what_can_no_longer_become_a_molecule_is_not_allowed() {
        for (line, next, expect) in [
            // A double bond out of the ring makes up for the odd number.
            ("c1cccc", "1", true),
            ("c1cccc1", "=", true),
            ("c1cccc1", "C", false),
            ("c1ccccc1", "C", true),
            ("C1F", "C", false),
            ("c1ccc[nH]", "1", true),
            ("cC", "C", false),
            ("c1cC", "C", false),
            ("C1CC", "C", true),
            ("CF", "C", false),
            ("CF", "(", false),
            ("C=", "F", false),
            ("C1C", "1", false),
            ("C(", ")", false),
        ] {
            let mut prefix = Prefix::new();
            symbols(line).for_each(|text| prefix.push(Symbol::parse(text.unwrap()).unwrap()).unwrap());
            assert_eq!(prefix.allows(Symbol::parse(next).unwrap()), expect, "{line} {next}");
        }
    }
}
