#!/usr/bin/env python3
"""Exports tiny models of every family to GGUF and compares what llama.cpp and Genera compute from them with transformers.

    transformers_models.py DIR                makes the models
    llama_cpp_families.py DIR GENERA          exports each with GENERA, in f32, and compares logits

A line for each model: the largest difference of llama.cpp's logits, and of Genera's from the same file, or why it cannot be a
GGUF file. llama.cpp rounds keys and values and some of what it multiplies, so its tolerance is wider. The exit code is 1 when
a difference is above its tolerance.

Needs: pip install numpy --no-binary llama-cpp-python llama-cpp-python
"""

import ctypes
import json
import pathlib
import subprocess
import sys

import llama_cpp
import numpy

TOLERANCES = {"llama.cpp": 0.02, "genera": 1e-4}
# What llama.cpp does in its own way: windows of Phi-3 are not applied, and its longer list of factors goes by the length of
# the session instead of that of the text.
OTHERWISE = ["phi3-older", "phi3-partial-window", "phi3-switch"]


def main():
    directory, genera = pathlib.Path(sys.argv[1]), sys.argv[2]
    only = sys.argv[3] if len(sys.argv) > 3 else ""
    silence = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silence, ctypes.c_void_p(0))
    n_wrong = 0
    for model in sorted(path.parent for path in directory.glob("*/expected.json")):
        if model.name.startswith(only):
            n_wrong += not compare(model, genera)
    sys.exit(1 if n_wrong else 0)


def compare(model, genera):
    expected = json.loads((model / "expected.json").read_text())
    if "logits" not in expected or "decoder_tokens" in expected:
        return True
    tokens = expected["tokens"][0]
    theirs = numpy.array(expected["logits"]).reshape(2, len(tokens), -1)[0]
    (model / "tokenizer.json").write_text(json.dumps(tokenizer(theirs.shape[1])))
    path = model / "model.gguf"
    path.unlink(missing_ok=True)
    command = [genera, "export", "--model", str(model), "--to", "gguf", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{model.name:24} {done.stderr.strip()}")
        return "not written" in done.stderr or "no place" in done.stderr
    try:
        found = {"llama.cpp": llama_logits(path, tokens), "genera": genera_logits(genera, path, tokens)}
    except ValueError as error:
        print(f"{model.name:24} {error}  WRONG")
        return False
    differences = {name: numpy.abs(logits - theirs).max() for name, logits in found.items()}
    if model.name in OTHERWISE:
        del differences["llama.cpp"]
    is_right = all(difference <= TOLERANCES[name] for name, difference in differences.items())
    columns = "  ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
    print(f"{model.name:24} {columns}{'' if is_right else '  WRONG'}")
    return is_right


def tokenizer(n):
    """Byte-level BPE without merges, with as many tokens as the model: llama.cpp reads no file without one."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in printable] + [chr(0x100 + i) for i in range(256 - len(printable))]
    # Those of Phi-3, which llama.cpp looks for in every file of a model called so.
    known = ["<unk>", "<s>", "</s>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate([*letters, *known, *(f"t{i}" for i in range(260, n))])}
    stages = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": False}
    return {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": stages, "decoder": stages, "model": model}


def llama_logits(path, tokens):
    options = dict(type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32, flash_attn=False)
    llama = llama_cpp.Llama(str(path), n_ctx=64, verbose=False, logits_all=True, n_threads=1, **options)
    llama.eval(tokens)
    return numpy.array(llama.scores[: len(tokens)])


def genera_logits(genera, path, tokens):
    command = [genera, "logits", "--model", str(path), "--tokens", ",".join(map(str, tokens)), "--json"]
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return numpy.array(done["logits"]).reshape(len(tokens), -1)


main()
