"""Compares what Genera finds of molecules with RDKit, string by string: MOSES molecules and strings that are meant to be hostile.

    python benches/peers/rdkit_molecules.py strings MOLSETS_DIR > lines.smi
    cargo run -p genera-eval --example molecules -- MOLSETS_DIR/moses/metrics < lines.smi > found.jsonl
    python benches/peers/rdkit_molecules.py compare MOLSETS_DIR lines.smi found.jsonl

    genera evaluate --task moses --samples samples.smi --reference MOLSETS_DIR --chemnet CHEMNET_DIR/fcd_torch/*.pt --json
    python benches/peers/rdkit_molecules.py moses MOLSETS_DIR CHEMNET_DIR samples.smi     the same columns by RDKit and PyTorch

Needs rdkit, and for the last numpy, scipy and torch. The definitions are those of molsets 0.3.1 (moses/metrics), which does not run on current Python.
"""
import csv
import gzip
import json
import random
import sys

from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem, Crippen, Descriptors, QED, rdFingerprintGenerator, rdMolDescriptors
from rdkit.Chem.Scaffolds import MurckoScaffold

RDLogger.DisableLog("rdApp.*")


def strings(root, n=10_000, n_hostile=1000, seed=1):
    random.seed(seed)
    rows = [line.strip() for line in gzip.open(f"{root}/moses/dataset/data/test.csv.gz", "rt")][1:]
    sample = random.sample(rows, n)
    print(*sample, sep="\n")
    alphabet = "CNOSFclnos()[]=#123456789%+-@/\\.H*BrIPBp:$"
    for i in range(n_hostile):
        text = list(random.choice(sample))
        for _ in range(random.randint(1, 4)):
            at, kind = random.randrange(len(text) + 1), random.random()
            if kind < 0.4 and text:
                del text[min(at, len(text) - 1)]
            elif kind < 0.7:
                text.insert(at, random.choice(alphabet))
            elif text:
                text[min(at, len(text) - 1)] = random.choice(alphabet)
        if i % 10 == 0:
            text = [random.choice(alphabet) for _ in range(random.randint(1, 30))]
        print("".join(text) or "C")


def scorer(root):
    path = f"{root}/moses/metrics/SA_Score"
    scores = {}
    import pickle
    for row in pickle.load(gzip.open(f"{path}/fpscores.pkl.gz")):
        for part in row[1:]:
            scores[part] = float(row[0])
    import math

    def score(m):
        counts = rdMolDescriptors.GetMorganFingerprint(m, 2).GetNonzeroElements()
        n = sum(counts.values())
        s1 = sum(scores.get(part, -4) * k for part, k in counts.items()) / n
        atoms = m.GetNumAtoms()
        chiral = len(Chem.FindMolChiralCenters(m, includeUnassigned=True))
        macro = any(len(x) > 8 for x in m.GetRingInfo().AtomRings())
        s2 = -(atoms**1.005 - atoms) - math.log10(chiral + 1) - math.log10(rdMolDescriptors.CalcNumSpiroAtoms(m) + 1)
        s2 -= math.log10(rdMolDescriptors.CalcNumBridgeheadAtoms(m) + 1) + (math.log10(2) if macro else 0)
        s3 = math.log(atoms / len(counts)) * 0.5 if atoms > len(counts) else 0
        s = 11.0 - (s1 + s2 + s3 + 4.0 + 1) / 6.5 * 9.0
        s = 8.0 + math.log(s + 1.0 - 9.0) if s > 8 else s
        return min(max(s, 1.0), 10.0)

    return score


def filters(root):
    base = f"{root}/moses/metrics"
    smarts = [row["smarts"] for row in csv.DictReader(open(f"{base}/mcf.csv"))]
    smarts += [row[0].strip() for row in csv.reader(open(f"{base}/wehi_pains.csv"))]
    patterns = [Chem.MolFromSmarts(x) for x in smarts]
    allowed = {"C", "N", "S", "O", "F", "Cl", "Br", "H"}

    def passes(m):
        if any(len(x) >= 8 for x in m.GetRingInfo().AtomRings()):
            return False
        if any(a.GetFormalCharge() or a.GetSymbol() not in allowed for a in m.GetAtoms()):
            return False
        h = Chem.AddHs(m)
        return not any(h.HasSubstructMatch(p) for p in patterns)

    return passes


def compare(root, lines, found):
    sa, passes = scorer(root), filters(root)
    morgan = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    fragment = getattr(rdMolDescriptors, "FragmentOnBRICSBonds", None) or AllChem.FragmentOnBRICSBonds
    wrong, worst, shown, n = {}, {}, {}, 0
    for text, row in zip(open(lines), map(json.loads, open(found))):
        text = text.rstrip("\n")
        m = Chem.MolFromSmiles(text) if text else None
        if m is not None and m.GetNumAtoms() == 0:
            m = None
        n += 1

        def check(name, mine, theirs):
            if mine != theirs:
                wrong[name] = wrong.get(name, 0) + 1
                shown.setdefault(name, []).append((text, mine, theirs))

        check("valid", row["valid"], m is not None)
        if row["grammar"] and m is None:
            check("grammar allows only molecules", True, False)
        if m is not None:
            wrong["(grammar refuses a molecule)"] = wrong.get("(grammar refuses a molecule)", 0) + (not row["grammar"])
        if m is None or not row["valid"]:
            continue
        smiles = Chem.MolToSmiles(m)
        check("canonical", row["smiles"], smiles)
        m = Chem.MolFromSmiles(smiles)
        if m is None:
            continue
        check("bits", row["bits"], list(morgan.GetFingerprint(m).GetOnBits()))
        check("fragments", sorted(row["fragments"]), sorted(Chem.MolToSmiles(fragment(m)).split(".")))
        scaffold = MurckoScaffold.GetScaffoldForMol(m)
        rings = len(Chem.GetSymmSSSR(scaffold)) if scaffold.GetNumAtoms() else 0
        check("scaffold", row["scaffold"], Chem.MolToSmiles(scaffold) if rings >= 2 else None)
        check("filters", row["filters"], passes(m))
        check("rings", row["rings"], m.GetRingInfo().NumRings())
        for name, theirs in [("logp", Crippen.MolLogP(m)), ("sa", sa(m)), ("qed", QED.qed(m)), ("weight", Descriptors.MolWt(m))]:
            mine = float("nan") if row[name] is None else row[name]
            off = abs(mine - theirs)
            worst[name] = max(worst.get(name, 0), off)
            if not off < 1e-3:
                check(f"{name} to 1e-3", mine, theirs)
    print(f"{n} strings; differences: {wrong or 'none'}; greatest: { {k: round(v, 8) for k, v in worst.items()} }")
    for name, cases in shown.items():
        for case in cases[:4]:
            print(f"  {name}: {case}")


def moses(root, chemnet, samples):
    import collections

    import numpy as np
    import torch
    from scipy.stats import wasserstein_distance

    sys.path.insert(0, chemnet)
    load = torch.load
    torch.load = lambda path: load(path, weights_only=False)
    from fcd_torch import FCD

    sa, passes = scorer(root), filters(root)
    lines = [line.split()[0] if line.split() else "" for line in open(samples)]
    fragment = getattr(rdMolDescriptors, "FragmentOnBRICSBonds", None) or AllChem.FragmentOnBRICSBonds
    morgan = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    smiles = [Chem.MolToSmiles(m) for m in map(Chem.MolFromSmiles, lines) if m is not None and m.GetNumAtoms()]
    mols = [Chem.MolFromSmiles(s) for s in smiles]
    train = {line.strip() for line in gzip.open(f"{root}/moses/dataset/data/train.csv.gz", "rt")}
    row = {"n": len(lines), "valid": len(mols) / len(lines)}
    for k in (1000, 10000):
        row[f"unique@{k}"] = len(set(smiles[:k])) / len(smiles[:k])
    bits = np.zeros((len(mols), 1024), dtype=np.float32)
    frags, scafs = collections.Counter(), collections.Counter()
    for i, m in enumerate(mols):
        bits[i, list(morgan.GetFingerprint(m).GetOnBits())] = 1
        frags.update(Chem.MolToSmiles(fragment(m)).split("."))
        scaffold = MurckoScaffold.GetScaffoldForMol(m)
        if scaffold.GetNumAtoms() and len(Chem.GetSymmSSSR(scaffold)) >= 2:
            scafs[Chem.MolToSmiles(scaffold)] += 1

    def tanimoto(a, b):
        both = a @ b.T
        return both / (a.sum(1)[:, None] + b.sum(1)[None] - both)

    def cosine(a, b):
        dot = sum(n * b.get(k, 0) for k, n in a.items())
        return dot / (sum(n * n for n in a.values()) * sum(n * n for n in b.values())) ** 0.5

    fcd = FCD(device="cpu", n_jobs=1)
    mine = fcd.precalc(smiles)
    for name, file in [("Test", "test_stats.npz"), ("TestSF", "test_scaffolds_stats.npz")]:
        stats = np.load(f"{root}/moses/dataset/data/{file}", allow_pickle=True)["stats"].item()
        row[f"FCD/{name}"] = float(fcd.metric(stats["FCD"], mine))
        best = np.zeros(len(mols))
        for j in range(0, len(stats["SNN"]["fps"]), 5000):
            best = np.maximum(best, tanimoto(bits, stats["SNN"]["fps"][j : j + 5000].astype(np.float32)).max(1))
        row[f"SNN/{name}"] = float(best.mean())
        row[f"Frag/{name}"] = cosine(frags, stats["Frag"]["frag"])
        row[f"Scaf/{name}"] = cosine(scafs, stats["Scaf"]["scaf"])
        if name == "Test":
            for key, f in [("logP", Crippen.MolLogP), ("SA", sa), ("QED", QED.qed), ("weight", Descriptors.MolWt)]:
                row[key] = wasserstein_distance(stats[key]["values"], [f(m) for m in mols])
    one, two = np.zeros(len(mols)), np.zeros(len(mols))
    for j in range(0, len(mols), 5000):
        t = tanimoto(bits, bits[j : j + 5000])
        one, two = one + t.sum(1), two + (t**2).sum(1)
    row["IntDiv"] = float(1 - (one / len(mols)).mean())
    row["IntDiv2"] = float(1 - ((two / len(mols)) ** 0.5).mean())
    row["Filters"] = sum(map(passes, mols)) / len(mols)
    row["Novelty"] = len(set(smiles) - train) / len(set(smiles))
    print(json.dumps(row))


if __name__ == "__main__":
    {"strings": strings, "compare": compare, "moses": moses}[sys.argv[1]](*sys.argv[2:])
