//! Molecules from blocks of structure files (MDL V2000): atoms, bonds and charges, without places.
//!
//! # Source
//! BIOVIA, "CTfile formats", 2020, chapter 4.

use crate::Molecule;
use crate::smiles::hydrogens_of;
use std::fmt::Write;

/// Most atoms and bonds of a block; three columns hold no more.
const MAX_COUNT: usize = 999;

/// The mark of a later form of blocks, in the fourth line.
const V3000: &str = "V3000";

/// Whether a block is of the later form V3000, which is not read.
pub fn is_v3000(block: &str) -> bool {
    block.lines().nth(3).is_some_and(|counts| counts.contains(V3000))
}

/// An atom of a block.
struct Atom<'b> {
    symbol: &'b str,
    charge: i8,
    isotope: u16,
}

/// A bond of a block.
struct Bond {
    ends: [usize; 2],
    order: u8,
}

/// The SMILES of the molecule of a block whose first line is number `first_line` of its file.
///
/// # Errors
/// When it is no block of a molecule, and why: what is wrong with which line of the file.
pub fn smiles_of_block(block: &str, first_line: u64) -> Result<String, String> {
    let lines: Vec<&str> = block.lines().collect();
    let number_of = |i: usize| first_line + i as u64;
    let cut_short = |promised: &str| format!("is cut short at line {}: {promised}", number_of(lines.len()));
    let counts = lines.get(3).ok_or_else(|| cut_short("a block has at least four lines"))?;
    if counts.contains(V3000) {
        return Err(format!("line {}: V3000 is not read; write V2000", number_of(3)));
    }
    let count =
        |from: usize| number(counts, from, 3).filter(|n| (0..=MAX_COUNT as i32).contains(n)).map(|n| n as usize);
    let (Some(n_atoms), Some(n_bonds)) = (count(0), count(3)) else {
        return Err(format!("line {}: expected the numbers of atoms and bonds in three columns each", number_of(3)));
    };
    let mut atoms = Vec::with_capacity(n_atoms);
    for i in 4..4 + n_atoms {
        let line = lines.get(i).ok_or_else(|| cut_short(&format!("{n_atoms} atoms are promised")))?;
        atoms
            .push(atom(line).ok_or_else(|| format!("line {}: expected an atom, found {}", number_of(i), shown(line)))?);
    }
    let mut bonds = Vec::with_capacity(n_bonds);
    for i in 4 + n_atoms..4 + n_atoms + n_bonds {
        let line = lines.get(i).ok_or_else(|| cut_short(&format!("{n_bonds} bonds are promised")))?;
        bonds.push(bond(line, n_atoms).ok_or_else(|| {
            format!("line {}: expected a bond between two of the atoms, found {}", number_of(i), shown(line))
        })?);
    }
    let rest = &lines[4 + n_atoms + n_bonds..];
    // What is cut off before may have been a charge.
    let end = rest.iter().position(|line| line.starts_with("M  END"));
    let end = end.ok_or_else(|| cut_short("a block ends with M  END"))?;
    rest[..end].iter().for_each(|line| properties(line, &mut atoms));
    if atoms.is_empty() {
        return Err(format!("line {}: the block has no atoms", number_of(3)));
    }
    let smiles = write(&atoms, &bonds)?;
    let molecule = Molecule::parse(&smiles)
        .ok_or_else(|| format!("line {first_line}: the block is no molecule: its valences are not legal"))?;
    Ok(molecule.canonical().to_owned())
}

/// A line as it is shown, in quotes and not too long.
fn shown(line: &str) -> String {
    format!("{:?}", line.chars().take(80).collect::<String>())
}

/// A number in columns.
fn number(line: &str, from: usize, n: usize) -> Option<i32> {
    line.get(from..(from + n).min(line.len()))?.trim().parse().ok()
}

fn atom(line: &str) -> Option<Atom<'_>> {
    let symbol = line.get(31..34.min(line.len()))?.trim();
    let is_symbol = (1..=2).contains(&symbol.len()) && symbol.bytes().all(|byte| byte.is_ascii_alphabetic());
    let charge = match number(line, 36, 3).unwrap_or(0) {
        1 => 3,
        2 => 2,
        3 => 1,
        5 => -1,
        6 => -2,
        7 => -3,
        _ => 0,
    };
    is_symbol.then_some(Atom { symbol, charge, isotope: 0 })
}

fn bond(line: &str, n_atoms: usize) -> Option<Bond> {
    let end =
        |from: usize| number(line, from, 3).filter(|&n| (1..=n_atoms as i32).contains(&n)).map(|n| n as usize - 1);
    let (a, b) = (end(0)?, end(3)?);
    let order = number(line, 6, 3).filter(|order| (1..=4).contains(order))? as u8;
    (a != b).then_some(Bond { ends: [a, b], order })
}

/// Charges and isotopes, which replace those of the lines of atoms.
fn properties(line: &str, atoms: &mut [Atom<'_>]) {
    let is_charge = line.starts_with("M  CHG");
    if !is_charge && !line.starts_with("M  ISO") {
        return;
    }
    let n = number(line, 6, 3).unwrap_or(0).clamp(0, 8) as usize;
    for i in 0..n {
        let (Some(place), Some(value)) = (number(line, 9 + 8 * i, 4), number(line, 13 + 8 * i, 4)) else { return };
        let Some(atom) = usize::try_from(place - 1).ok().and_then(|place| atoms.get_mut(place)) else { return };
        if is_charge {
            atom.charge = value.clamp(-15, 15) as i8;
        } else {
            atom.isotope = value.clamp(0, 999) as u16;
        }
    }
}

/// Writes each atom once with a ring number for every bond: long, but every program reads it, and the canonical form follows.
fn write(atoms: &[Atom<'_>], bonds: &[Bond]) -> Result<String, String> {
    let mut ends: Vec<Vec<(usize, &Bond)>> = vec![Vec::new(); atoms.len()];
    for (i, bond) in bonds.iter().enumerate() {
        bond.ends.iter().for_each(|&end| ends[end].push((i, bond)));
    }
    let mut free: Vec<u8> = (1..100).rev().collect();
    let mut numbers: Vec<Option<u8>> = vec![None; bonds.len()];
    let mut line = String::new();
    for (i, (atom, ends)) in atoms.iter().zip(&ends).enumerate() {
        if i > 0 {
            line.push('.');
        }
        let is_aromatic = ends.iter().any(|(_, bond)| bond.order == 4);
        let n_bonds: u8 = ends.iter().map(|(_, bond)| if bond.order == 4 { 1 } else { bond.order }).sum();
        write_atom(&mut line, atom, is_aromatic, n_bonds.saturating_add(is_aromatic.into()));
        for &(i, bond) in ends {
            let number = match numbers[i] {
                Some(number) => {
                    free.push(number);
                    number
                }
                None => {
                    let number = free.pop().ok_or("the block has more than ninety-nine bonds open at once")?;
                    numbers[i] = Some(number);
                    number
                }
            };
            line += ["-", "=", "#", ":"][bond.order as usize - 1];
            let _ = write!(line, "%{number:02}");
        }
    }
    Ok(line)
}

/// Writes an atom, with as many hydrogens in brackets as its valence leaves open.
fn write_atom(line: &mut String, atom: &Atom<'_>, is_aromatic: bool, n_bonds: u8) {
    let lower = atom.symbol.to_ascii_lowercase();
    let symbol = if is_aromatic { lower.as_str() } else { atom.symbol };
    const PLAIN: [&str; 16] = ["B", "C", "N", "O", "P", "S", "F", "Cl", "Br", "I", "b", "c", "n", "o", "p", "s"];
    if atom.charge == 0 && atom.isotope == 0 && PLAIN.contains(&symbol) {
        *line += symbol;
        return;
    }
    line.push('[');
    if atom.isotope > 0 {
        let _ = write!(line, "{}", atom.isotope);
    }
    *line += symbol;
    let n_hydrogens = hydrogens_of(atom.symbol, atom.charge, n_bonds);
    if n_hydrogens > 0 {
        let _ = write!(line, "H{n_hydrogens}");
    }
    if atom.charge != 0 {
        let _ = write!(line, "{:+}", atom.charge);
    }
    line.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for smiles in
            ["CCO", "C[N+](=O)[O-]", "c1ccc2[nH]ccc2c1", "C[NH3+].[Cl-]", "N#Cc1ccccc1", "CS(=O)(=O)N", "[13CH4]"]
        {
            let molecule = Molecule::parse(smiles).unwrap();
            let block = molecule.mol_block("a name").unwrap();
            assert!(block.starts_with("a name\n     Genera"), "{block}");
            assert_eq!(smiles_of_block(&block, 1).as_deref(), Ok(molecule.canonical()), "{block}");
        }
    }

    #[test]
    fn damaged_blocks_are_named_by_line() {
        let block = Molecule::parse("CCO").unwrap().mol_block("x").unwrap();
        let line = |i: usize, text: &str| {
            let mut lines: Vec<&str> = block.lines().collect();
            lines[i] = text;
            smiles_of_block(&lines.join("\n"), 101).unwrap_err()
        };
        assert!(line(3, "nothing").starts_with("line 104: expected the numbers"));
        for counts in [" -1 -1", " -1  0", "  3 -1"] {
            assert!(line(3, counts).starts_with("line 104: expected the numbers"), "{counts}");
        }
        assert!(line(4, "x").starts_with("line 105: expected an atom"));
        assert!(line(7, "  1  9  1").starts_with("line 108: expected a bond"));
        assert!(smiles_of_block("a\nb\nc\n  3  0  0", 1).unwrap_err().contains("cut short at line 5"));
        assert!(smiles_of_block("", 1).is_err());
        let later = "a\nb\nc\n  0  0  0     0  0            999 V3000\nM  V30 BEGIN CTAB\nM  END";
        assert_eq!(smiles_of_block(later, 101).unwrap_err(), "line 104: V3000 is not read; write V2000");
        assert!(is_v3000(later) && !is_v3000(&block) && !is_v3000("V3000"));
        assert!(line(9, "x").contains("cut short at line 111: a block ends with M  END"), "{}", line(9, "x"));
        for n in 0..block.len() {
            let _ = smiles_of_block(&block[..n], 1);
        }
    }
}
