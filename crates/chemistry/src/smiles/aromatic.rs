//! Whether aromatic atoms stand in rings in which single and double bonds can alternate (Kekulé's structures).
//!
//! An atom that needs a double bond must find a partner among its aromatic neighbours in a ring, each partner for one alone: a
//! matching of a graph. While a line is under way, atoms that can still get bonds need no partner yet, and are joined to a point
//! that stands for all that may come.

use super::prefix::Prefix;

/// Whether more symbols can make a molecule of a beginning, as far as its aromatic atoms tell.
pub(super) fn can_be_completed(prefix: &Prefix) -> bool {
    !has_aromatic(prefix) || is_sound(prefix, true)
}

/// Whether the aromatic atoms of a line that ends here are those of a molecule.
pub(super) fn is_complete(prefix: &Prefix) -> bool {
    !has_aromatic(prefix) || is_sound(prefix, false)
}

fn has_aromatic(prefix: &Prefix) -> bool {
    prefix.atoms.iter().any(|placed| placed.atom.is_aromatic)
}

fn is_sound(prefix: &Prefix, goes_on: bool) -> bool {
    let n = prefix.atoms.len();
    let mut is_open = vec![false; n];
    if goes_on {
        prefix.branches.iter().chain(&prefix.current).for_each(|&atom| is_open[atom] = prefix.atoms[atom].room() > 0);
        (0..n).filter(|&atom| prefix.atoms[atom].n_open > 0).for_each(|atom| is_open[atom] = true);
    }
    let graph = Graph::new(prefix, &is_open);
    let in_ring = graph.ring_edges();
    let mut n_in_ring = vec![0; n];
    for (bond, _) in prefix.bonds.iter().zip(&in_ring).filter(|(bond, in_ring)| bond.is_aromatic && **in_ring) {
        bond.ends.iter().for_each(|&end| n_in_ring[end] += 1);
    }
    let aromatic = |atom: usize| prefix.atoms[atom].atom.is_aromatic;
    let still = |atom: usize| if is_open[atom] { prefix.atoms[atom].room() + prefix.atoms[atom].n_open } else { 0 };
    // A ring of aromatic atoms goes through each by two aromatic bonds.
    if (0..n).any(|atom| aromatic(atom) && n_in_ring[atom] + still(atom) < 2) {
        return false;
    }
    let needs: Vec<bool> = (0..n).map(|atom| prefix.atoms[atom].needs_double()).collect();
    let can_pair = |atom: usize| needs[atom] || (is_open[atom] && aromatic(atom));
    let pairs = prefix.bonds.iter().zip(&in_ring).filter(|(bond, in_ring)| bond.is_aromatic && **in_ring);
    let pairs = pairs.map(|(bond, _)| bond.ends).filter(|ends| ends.iter().all(|&end| can_pair(end)));
    let partners = Neighbours::new(n, &pairs.collect::<Vec<[usize; 2]>>());
    let required: Vec<bool> = (0..n).map(|atom| needs[atom] && !is_open[atom]).collect();
    covers(&required, &partners)
}

/// The edges at each point, one behind the other in memory.
struct Neighbours {
    first: Vec<usize>,
    /// The edge, and the point at its other end.
    entries: Vec<(usize, usize)>,
}

impl Neighbours {
    fn new(n: usize, edges: &[[usize; 2]]) -> Self {
        let mut first = vec![0; n + 1];
        edges.iter().flatten().for_each(|&end| first[end + 1] += 1);
        (0..n).for_each(|point| first[point + 1] += first[point]);
        let mut next = first.clone();
        let mut entries = vec![(0, 0); 2 * edges.len()];
        for (edge, &[a, b]) in edges.iter().enumerate() {
            for (from, to) in [(a, b), (b, a)] {
                entries[next[from]] = (edge, to);
                next[from] += 1;
            }
        }
        Self { first, entries }
    }

    fn at(&self, point: usize) -> &[(usize, usize)] {
        &self.entries[self.first[point]..self.first[point + 1]]
    }

    fn n_points(&self) -> usize {
        self.first.len() - 1
    }
}

/// The atoms and bonds, with a point beyond that all open atoms are joined to: twice, where they have room for two bonds.
struct Graph {
    /// First the bonds of the beginning, in their order.
    edges: Vec<[usize; 2]>,
    neighbours: Neighbours,
}

impl Graph {
    fn new(prefix: &Prefix, is_open: &[bool]) -> Self {
        let beyond = prefix.atoms.len();
        let mut edges: Vec<[usize; 2]> = prefix.bonds.iter().map(|bond| bond.ends).collect();
        for (atom, placed) in prefix.atoms.iter().enumerate().filter(|(atom, _)| is_open[*atom]) {
            let n = placed.room().saturating_add(placed.n_open).min(2);
            edges.extend(std::iter::repeat_n([atom, beyond], n.into()));
        }
        let neighbours = Neighbours::new(beyond + 1, &edges);
        Self { edges, neighbours }
    }

    /// Which edges are part of a ring: those that are no bridges.
    ///
    /// # Source
    /// Tarjan, A note on finding the bridges of a graph, 1974; with a stack of its own instead of recursion.
    fn ring_edges(&self) -> Vec<bool> {
        const NEW: usize = usize::MAX;
        let n = self.neighbours.n_points();
        let (mut order, mut low) = (vec![NEW; n], vec![NEW; n]);
        let mut in_ring = vec![true; self.edges.len()];
        let mut n_seen = 0;
        // A point, the edge it was reached by, and how many of its edges were looked at.
        let mut stack = Vec::with_capacity(n);
        for root in 0..n {
            if order[root] != NEW {
                continue;
            }
            stack.push((root, NEW, 0));
            while let Some((point, by, i)) = stack.last_mut() {
                if *i == 0 {
                    (order[*point], low[*point]) = (n_seen, n_seen);
                    n_seen += 1;
                }
                let Some(&(edge, other)) = self.neighbours.at(*point).get(*i) else {
                    let (point, by) = (*point, *by);
                    stack.pop();
                    if let Some((parent, ..)) = stack.last() {
                        low[*parent] = low[*parent].min(low[point]);
                        in_ring[by] = low[point] <= order[*parent];
                    }
                    continue;
                };
                *i += 1;
                if edge == *by {
                    continue;
                }
                if order[other] == NEW {
                    stack.push((other, edge, 0));
                } else {
                    low[*point] = low[*point].min(order[other]);
                }
            }
        }
        in_ring
    }
}

/// Whether each point that needs a partner finds one of its own; the others may be left alone.
///
/// # Cost
/// A search along alternating paths for each. Rings of five and seven make blossoms (odd cycles), so paths are tried one by one,
/// in bounded number.
fn covers(required: &[bool], partners: &Neighbours) -> bool {
    let n = partners.n_points();
    let mut pairing = Pairing { partners, required, of: vec![None; n], on_path: vec![false; n], n_left: MOST_STEPS };
    let mut order: Vec<usize> = (0..n).filter(|&point| required[point]).collect();
    // Those with the fewest choices first: nearly always every later one then finds a partner at once.
    order.sort_by_key(|&point| partners.at(point).len());
    order.into_iter().all(|point| pairing.of[point].is_some() || pairing.pair(point, 0))
}

/// Steps of a search after which there is held to be no way, and pairs that may change on one path.
const MOST_STEPS: usize = 20_000;
const MOST_DEPTH: usize = 200;

/// Points and their partners so far.
struct Pairing<'g> {
    partners: &'g Neighbours,
    required: &'g [bool],
    of: Vec<Option<usize>>,
    on_path: Vec<bool>,
    n_left: usize,
}

impl Pairing<'_> {
    /// Finds a partner for a point, giving others new ones where needed.
    fn pair(&mut self, point: usize, depth: usize) -> bool {
        if self.n_left == 0 || depth > MOST_DEPTH {
            return false;
        }
        self.n_left -= 1;
        self.on_path[point] = true;
        let all = self.partners;
        let found =
            all.at(point).iter().any(|&(_, partner)| !self.on_path[partner] && self.take(point, partner, depth));
        self.on_path[point] = false;
        found
    }

    /// Pairs a point with this partner, if who had it finds another or needs none.
    fn take(&mut self, point: usize, partner: usize, depth: usize) -> bool {
        let left_alone = self.of[partner];
        if left_alone.is_some_and(|other| self.on_path[other]) {
            return false;
        }
        (self.of[point], self.of[partner]) = (Some(partner), Some(point));
        let Some(other) = left_alone else { return true };
        self.of[other] = None;
        if !self.required[other] {
            return true;
        }
        self.on_path[partner] = true;
        let found = self.pair(other, depth + 1);
        self.on_path[partner] = false;
        if !found {
            (self.of[point], self.of[partner], self.of[other]) = (None, Some(other), Some(partner));
        }
        found
    }
}
