//! Atoms and bonds as RDKit has them once it has read a molecule: aromatic rings found, rings known.

use crate::Molecule;
use chematic::core::{AtomIdx, BondIdx, BondOrder, Molecule as Graph};
use chematic::perception::{find_sssr, ring_bond_flags};
use chematic::smiles::rdkit_parsed_molecule;

/// A molecule with what is asked of its atoms and bonds again and again.
pub(crate) struct Structure {
    pub(crate) graph: Graph,
    /// Whether each bond is part of a ring.
    bond_in_ring: Vec<bool>,
}

/// A bond as it is seen from one of its atoms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbour {
    pub(crate) atom: usize,
    pub(crate) order: Order,
    pub(crate) in_ring: bool,
}

/// The order of a bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Single,
    Double,
    Triple,
    Aromatic,
    Other,
}

impl Structure {
    pub(crate) fn of(molecule: &Molecule) -> Self {
        let graph = rdkit_parsed_molecule(molecule.graph()).unwrap_or_else(|| molecule.graph().clone());
        let bond_in_ring = ring_bond_flags(&graph);
        Self { graph, bond_in_ring }
    }

    pub(crate) fn n_atoms(&self) -> usize {
        self.graph.atom_count()
    }

    pub(crate) fn neighbours(&self, atom: usize) -> impl Iterator<Item = Neighbour> + '_ {
        self.graph.neighbor_slice(AtomIdx(atom as u32)).iter().map(|&(other, bond)| Neighbour {
            atom: other.0 as usize,
            order: order(self.graph.bond(bond).order),
            in_ring: self.bond_in_ring[bond.0 as usize],
        })
    }

    /// The bonds: their two atoms, their order, and whether they are part of a ring.
    pub(crate) fn bonds(&self) -> impl Iterator<Item = (usize, usize, Order, bool)> + '_ {
        (0..self.graph.bond_count()).map(|i| {
            let bond = self.graph.bond(BondIdx(i as u32));
            (bond.atom1.0 as usize, bond.atom2.0 as usize, order(bond.order), self.bond_in_ring[i])
        })
    }

    /// Its atomic number; 0 for any element.
    pub(crate) fn number(&self, atom: usize) -> u8 {
        let atom = self.graph.atom(AtomIdx(atom as u32));
        if atom.wildcard { 0 } else { atom.element.atomic_number() }
    }

    pub(crate) fn is_aromatic(&self, atom: usize) -> bool {
        self.graph.atom(AtomIdx(atom as u32)).aromatic
    }

    pub(crate) fn charge(&self, atom: usize) -> i8 {
        self.graph.atom(AtomIdx(atom as u32)).charge
    }

    pub(crate) fn degree(&self, atom: usize) -> usize {
        self.graph.degree(AtomIdx(atom as u32))
    }

    pub(crate) fn in_ring(&self, atom: usize) -> bool {
        self.neighbours(atom).any(|neighbour| neighbour.in_ring)
    }

    /// Atoms of each smallest ring.
    pub(crate) fn ring_sizes(&self) -> Vec<usize> {
        find_sssr(&self.graph).rings().iter().map(Vec::len).collect()
    }
}

fn order(order: BondOrder) -> Order {
    match order {
        BondOrder::Single | BondOrder::Up | BondOrder::Down => Order::Single,
        BondOrder::Double => Order::Double,
        BondOrder::Triple => Order::Triple,
        BondOrder::Aromatic => Order::Aromatic,
        _ => Order::Other,
    }
}
