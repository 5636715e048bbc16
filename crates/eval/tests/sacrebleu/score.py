"""Scores corpora with the Python package sacrebleu: JSON in, JSON out.

    python3 score.py < cases.json > scores.json

in:  {"corpora": [{"hypotheses": [...], "references": [[...], ...]}], "settings": [{"metric": "bleu" or "chrf", ...}],
      "texts": [...], "tokenizers": [...]}
out: {"version": of sacrebleu, "scores": a list for each corpus, a number for each setting,
      "signatures": of each setting on the last corpus, "words": a list for each tokenizer, the words of each text}
"""

import json
import logging
import sys

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.bleu import _get_tokenizer

logging.disable(logging.WARNING)


def metric_of(setting):
    options = dict(setting)
    return {"bleu": BLEU, "chrf": CHRF}[options.pop("metric")](**options)


def in_lines(rows):
    return "[\n  " + ",\n  ".join(json.dumps(row) for row in rows) + "\n ]"


job = json.load(sys.stdin)
metrics = [metric_of(setting) for setting in job["settings"]]
scores = [[m.corpus_score(c["hypotheses"], c["references"]).score for m in metrics] for c in job["corpora"]]
signatures = [str(m.get_signature()) for m in metrics]
words = [[_get_tokenizer(name)()(text).split() for text in job["texts"]] for name in job["tokenizers"]]
print(f'{{\n "version": "{sacrebleu.__version__}",\n "scores": {in_lines(scores)},')
print(f' "signatures": {in_lines(signatures)},\n "words": {in_lines(words)}\n}}')
