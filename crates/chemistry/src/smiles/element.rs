//! Elements and the valences that they may have.

/// Symbols by atomic number, from hydrogen on.
const SYMBOLS: [&str; 118] = [
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K", "Ca",
    "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y",
    "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe", "Cs", "Ba", "La", "Ce",
    "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os", "Ir",
    "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm",
    "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc",
    "Lv", "Ts", "Og",
];

/// Aromatic symbols that stand in brackets, with their atomic numbers.
const AROMATIC: [(&str, u8); 10] =
    [("se", 34), ("as", 33), ("te", 52), ("si", 14), ("b", 5), ("c", 6), ("n", 7), ("o", 8), ("p", 15), ("s", 16)];

/// The element whose symbol begins `text`: its atomic number, whether it is aromatic, and the bytes of its symbol.
pub(super) fn at_start(text: &str) -> Option<(u8, bool, usize)> {
    if let Some((symbol, number)) = AROMATIC.iter().find(|(symbol, _)| text.starts_with(symbol)) {
        return Some((*number, true, symbol.len()));
    }
    let of_len = |n: usize| {
        let symbol = text.get(..n)?;
        let number = SYMBOLS.iter().position(|known| *known == symbol)? as u8 + 1;
        Some((number, false, n))
    };
    of_len(2).or_else(|| of_len(1))
}

/// The least and the greatest sum of bond orders that an uncharged atom may have; `None` where there is no limit.
pub(super) fn valences(number: u8) -> Option<(u8, u8)> {
    Some(match number {
        1 | 9 | 17 | 35 => (1, 1),
        2 | 10 | 18 | 36 => (0, 0),
        5 => (3, 3),
        6 | 14 | 32 => (4, 4),
        7 => (3, 3),
        8 => (2, 2),
        15 | 33 => (3, 5),
        16 | 34 | 52 => (2, 6),
        53 => (1, 5),
        _ => return None,
    })
}

/// As [`valences`], for an atom with a charge: those of the element with as many electrons.
pub(super) fn charged_valences(number: u8, charge: i8) -> Option<(u8, u8)> {
    if valences(number).is_none() || charge == 0 {
        return valences(number);
    }
    let alike = i16::from(number) - i16::from(charge);
    match alike {
        // What holds no electrons that could bond: a proton, a lone sodium.
        ..=0 | 2 | 10 | 18 | 36 | 54 => Some((0, 0)),
        _ => valences(alike as u8),
    }
}

/// Hydrogens of an atom with so many bonds, as many as its valence leaves open; none for elements without a usual valence.
pub(crate) fn hydrogens_of(symbol: &str, charge: i8, n_bonds: u8) -> u8 {
    let known = SYMBOLS.iter().position(|known| *known == symbol).and_then(|i| charged_valences(i as u8 + 1, charge));
    let Some((least, most)) = known else { return 0 };
    // Higher valences come in steps of two.
    (least..=most).step_by(2).find(|&valence| valence >= n_bonds).map_or(0, |valence| valence - n_bonds)
}
