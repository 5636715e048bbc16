#!/usr/bin/env python3
"""Compares low-rank adapters with the Python library PEFT, in both directions, on the models of transformers_models.py.

    transformers_models.py DIR
    peft_adapters.py DIR --genera PROGRAM [--only llama]

For each model: an adapter that PEFT made (random, every linear layer of the blocks) is given to `genera logits --adapter`;
an adapter that `genera train --lora` trained on a few lines of text is given to PEFT; and the model that `genera export
--adapter` merged is opened by transformers. The largest difference of the logits is printed for each of the three; the exit
code is 1 when one is above the tolerance.

Needs: pip install torch transformers peft
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers_logits import compute, load

TOKENS = [3, 17, 5, 40, 8, 96, 11]
DECODER_TOKENS = [2, 9, 30]


def linear_layers(model):
    """The ends of the names of the linear layers in the blocks."""
    kinds = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
    names = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    ends = {name.rsplit(".", 1)[-1] for name in names if any(part.isdigit() for part in name.split("."))}
    return sorted(ends - {"gate", "router"})


def made_by_peft(directory, out):
    """Saves a random adapter, with another alpha for some modules; returns the logits with it."""
    model = load(directory)
    targets = linear_layers(model)
    is_transposed = any(isinstance(module, transformers.pytorch_utils.Conv1D) for module in model.modules())
    task = "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
    config = LoraConfig(
        r=4, lora_alpha=12, target_modules=targets, alpha_pattern={targets[0]: 3}, task_type=task, fan_in_fan_out=is_transposed
    )
    adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    adapted.save_pretrained(out)
    return logits_of(adapted.eval())


def logits_of(model):
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    decoder = torch.tensor([DECODER_TOKENS]) if inner.config.is_encoder_decoder else None
    return compute(inner, torch.tensor([TOKENS]), decoder).flatten()


def ask(genera, model, adapter=None):
    """The logits of the program."""
    command = [genera, "logits", "--model", str(model), "--json", "--tokens", ",".join(map(str, TOKENS))]
    if json.loads((model / "config.json").read_text()).get("is_encoder_decoder"):
        command += ["--decoder-tokens", ",".join(map(str, DECODER_TOKENS))]
    if adapter:
        command += ["--adapter", str(adapter)]
    return torch.tensor(json.loads(run(command))["logits"])


def opened(directory):
    """An exported model. Pegasus computes its positions, and yet calls them missing."""
    if json.loads((directory / "config.json").read_text())["model_type"] == "pegasus":
        return transformers.AutoModelForSeq2SeqLM.from_pretrained(directory, attn_implementation="eager").eval()
    return load(directory)


def run(command):
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        sys.exit(f"{' '.join(command)}\n{answer.stderr}")
    return answer.stdout


def with_tokenizer(directory):
    """A tokenizer of one letter a token, so that the model can be trained on text."""
    if (directory / "tokenizer.json").exists():
        return
    n = json.loads((directory / "config.json").read_text())["vocab_size"]
    vocab = {chr(0x20 + i): i for i in range(n)}
    (directory / "tokenizer.json").write_text(
        json.dumps(
            {
                "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False},
                "post_processor": None, "decoder": {"type": "Fuse"},
                "model": {"type": "WordLevel", "vocab": vocab, "unk_token": " "},
            }
        )
    )


def made_by_genera(genera, directory, work):
    """Trains an adapter for a few steps; returns its directory."""
    with_tokenizer(directory)
    run_directory = work / "run"
    data = work / "lines.jsonl"
    data.write_text("".join(json.dumps({"text": f"{i} and {i + 1} and {i + 2}", "target": f"{3 * i}"}) + "\n" for i in range(60)))
    command = [genera, "train", "--base", str(directory), "--data", str(data), "--lora", "3", "--run", str(run_directory)]
    command += ["--set", "train.steps=6", "--set", "train.learning_rate=0.02", "--set", "train.dtype=f32"]
    command += ["--set", "model.context_len=32", "--set", "train.lora.dropout=0.1"]
    if json.loads((directory / "config.json").read_text()).get("is_encoder_decoder"):
        command += ["--column", "text", "--target-column", "target"]
    run(command)
    return run_directory / "adapter"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path, help="the models, one directory each")
    parser.add_argument("--genera", required=True, help="the program")
    parser.add_argument("--only", default="", help="only models whose name begins so")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest difference allowed (default 1e-4)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    is_right = True
    for directory in sorted(arguments.directory.iterdir()):
        config = directory / "config.json"
        if not config.exists() or not directory.name.startswith(arguments.only):
            continue
        if json.loads(config.read_text()).get("model_type") in ("bert", "mixtral"):
            continue  # No way to train the one; PEFT has no adapters for the fused experts of the other.
        work = arguments.directory / f".peft-{directory.name}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        theirs = made_by_peft(directory, work / "peft")
        read = (ask(arguments.genera, directory, work / "peft") - theirs).abs().max().item()
        adapter = made_by_genera(arguments.genera, directory, work)
        ours = ask(arguments.genera, directory, adapter)
        effect = (ours - ask(arguments.genera, directory)).abs().max().item()
        written = (logits_of(PeftModel.from_pretrained(load(directory), adapter).eval()) - ours).abs().max().item()
        run([arguments.genera, "export", "--model", str(directory), "--adapter", str(adapter), "--to", "hf", str(work / "merged")])
        merged = (logits_of(opened(work / "merged")) - ours).abs().max().item()
        is_good = max(read, written, merged) <= arguments.tolerance and effect > 1e-3
        is_right &= is_good
        print(
            f"{directory.name:24} PEFT's here {read:.1e}  ours in PEFT {written:.1e}  merged {merged:.1e}  "
            f"(it changes logits by {effect:.2f}){'' if is_good else '  WRONG'}",
            flush=True,
        )
        shutil.rmtree(work)
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
