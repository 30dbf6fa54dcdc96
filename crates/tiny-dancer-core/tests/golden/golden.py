#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6"]
# ///
"""Compute the golden values of the core's tests from the published equations.

    uv run golden.py            # write fastgrnn.json, features.json, conformal.json
    uv run golden.py --check    # write nothing; fail if the files differ from its output

All numbers are float64, except the inputs, which are exact float32 values, and one
subtraction (see `conformal`). Expected values have 12 significant digits. README.md
beside this file describes the fields.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
I64_MIN, I64_MAX, U64_MAX = -(2**63), 2**63 - 1, 2**64 - 1
F32_MAX = float(np.finfo(np.float32).max)
F32_MIN_NORMAL = float(np.finfo(np.float32).tiny)
F32_MIN_SUBNORMAL = float(np.finfo(np.float32).smallest_subnormal)


def main() -> int:
    made = {"fastgrnn.json": fastgrnn(), "features.json": features(), "conformal.json": conformal()}
    stale = []
    for name, cases in made.items():
        text, path = to_json(cases), HERE / name
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
        print(f"{name}: {len(cases)} cases, {len(text.encode())} bytes")
    if stale:
        print("differs from the equations:", ", ".join(stale))
    return 1 if stale else 0


# FastGRNN: Kusupati, Singh, Bhatia, Kumar, Jain, Varma, "FastGRNN: A Fast, Accurate,
# Stable and Tiny Kilobyte Sized Gated Recurrent Neural Network", NeurIPS 2018, section 3.


def fastgrnn() -> list[dict]:
    rng = np.random.default_rng(20181203)
    # zeta, nu, and the spread of w, u and the biases around their centres. "Trained" has about
    # the values at the start and at the end of training. "Saturated" drives most gates to 0 or 1.
    # "Extreme" reaches arguments where a float32 exp over- or underflows.
    flavours = {
        "trained": {"zeta": 1.0, "nu": -4.0, "w": 1.0, "u": 0.5, "bias": 0.5},
        "saturated": {"zeta": 1.25, "nu": -3.5, "w": 6.0, "u": 0.8, "bias": 5.0},
        "extreme": {"zeta": -2.0, "nu": -8.0, "w": 90.0, "u": 0.5, "bias": 60.0},
        "leaky": {"zeta": 3.0, "nu": 1.0, "w": 0.7, "u": 0.2, "bias": 1.0},
    }
    cases = []
    for i, hidden in enumerate((4, 16, 24)):
        for j, steps in enumerate((1, 2, 7, 64)):
            # Each hidden size has all flavours, and each length has three.
            name = list(flavours)[(i + j) % len(flavours)]
            flavour = flavours[name]
            cases.append(fastgrnn_case(
                f"{name}, hidden {hidden}, {steps} steps",
                w=f32(rng.normal(0, flavour["w"], (hidden, 5))),
                u=f32(rng.normal(0, flavour["u"] / math.sqrt(hidden), (hidden, hidden))),
                bias_gate=f32(rng.normal(1.0, flavour["bias"], hidden)),
                bias_update=f32(rng.normal(0.0, flavour["bias"], hidden)),
                zeta=f32(flavour["zeta"] + rng.normal(0, 0.1)),
                nu=f32(flavour["nu"] + rng.normal(0, 0.1)),
                head_weight=f32(rng.normal(0, 2.0, hidden)),
                head_bias=f32(rng.normal(0, 0.5)),
                inputs=f32(feature_rows(rng, steps)),
            ))
    # By hand: all weights 0, so z = sigmoid(1), h~ = 0, h' = 0 and the logit is the bias.
    cases.append(fastgrnn_case(
        "zero weights, hidden 4, 2 steps",
        w=np.zeros((4, 5)), u=np.zeros((4, 4)), bias_gate=np.ones(4), bias_update=np.zeros(4),
        zeta=1.0, nu=-4.0, head_weight=np.ones(4), head_bias=-0.75,
        inputs=np.array([[1.0, 1.0, 1.0, 1.0, 1.0], [-1.0, 0.0, 0.0, 0.0, 0.0]])))
    return cases


def fastgrnn_case(name, *, w, u, bias_gate, bias_update, zeta, nu, head_weight, head_bias, inputs):
    def step(x, h):
        pre = w @ x + u @ h
        z = sigmoid(pre + bias_gate)
        update = np.tanh(pre + bias_update)
        return (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * update + z * h

    def answer(h):
        logit = float(head_weight @ h + head_bias)
        return {"hidden": digits(h), "logit": digits(logit), "confidence": digits(sigmoid(logit))}

    start = np.zeros(len(w))
    together = start
    for x in inputs:
        together = step(x, together)
    return {
        "name": name,
        "hidden": len(w),
        "w": exact(w),
        "u": exact(u),
        "bias_gate": exact(bias_gate),
        "bias_update": exact(bias_update),
        "zeta": exact(zeta),
        "nu": exact(nu),
        "head_weight": exact(head_weight),
        "head_bias": exact(head_bias),
        "inputs": exact(inputs),
        "alone": [answer(step(x, start)) for x in inputs],
        "together": answer(together),
    }


def feature_rows(rng, steps):
    """Rows as the router computes them: similarity in -1..1, the other four in 0..1."""
    rows = rng.random((steps, 5))
    rows[:, 0] = 2 * rows[:, 0] - 1
    rows[:, 4] = np.where(rng.random(steps) < 0.5, 0.0, rows[:, 4])
    return rows


# The five features, from their definitions.


def features() -> list[dict]:
    rng = np.random.default_rng(20261101)
    now, day, week = 1_764_000_000, 86_400, 604_800
    pair = {"kind": "arithmetic", "language": "en"}
    a, b = [1.0, 2.0, -2.0], [2.0, -1.0, 0.5]

    def scaled(vector, factor):
        return [float(x) for x in f32(np.array(vector) * factor)]

    cases = [
        features_case("directions", a, [
            candidate(a), candidate(scaled(a, -1)), candidate(scaled(a, 3)), candidate(scaled(a, -0.125)),
            candidate([2.0, 0.0, 1.0]), candidate([2.0, 1.0, 2.0]), candidate(b), candidate([0.0, 0.0, 1.0]),
        ], now),
        # Squares of 1e30 overflow a float32 and those of 1e-30 underflow it; so does a sum
        # of products of the two with each other, though the cosine is an ordinary number.
        features_case("huge query", scaled(a, 1e30), [
            candidate(scaled(a, 1e30)), candidate(scaled(b, 1e30)), candidate(scaled(b, 1e-30)),
            candidate(b), candidate(scaled(a, -1e-30)),
        ], now),
        features_case("tiny query", scaled(a, 1e-30), [
            candidate(scaled(a, 1e-30)), candidate(scaled(b, 1e-30)), candidate(scaled(b, 1e30)),
            candidate(b), candidate(scaled(a, -1e30)),
        ], now),
        features_case("one huge element among ordinary ones", [1e30, 1.0, -1.0, 0.5, 2.0, 0.0, 3.0, -0.25], [
            candidate([1.0, 1e30, 1.0, 0.5, -2.0, 1.0, 0.0, 0.25]),
            candidate([-1e30, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
            candidate([1.0, 1.0, -1.0, 0.5, 2.0, 0.0, 3.0, -0.25]),
            candidate([0.0, 1e-30, -1e-30, 1e-30, 0.0, 0.0, 1e-30, 0.0]),
        ], now),
        features_case("the ends of float32", [F32_MAX, -F32_MAX, F32_MAX], [
            candidate([F32_MAX, -F32_MAX, F32_MAX]), candidate([F32_MAX, F32_MAX, F32_MAX]),
            candidate([F32_MIN_NORMAL, -F32_MIN_NORMAL, 0.0]),
            candidate([F32_MIN_SUBNORMAL, 0.0, F32_MIN_SUBNORMAL]), candidate([0.0, F32_MIN_SUBNORMAL, 0.0]),
        ], now),
        features_case("ages, half-life one week", a, [
            candidate(b, created_at=t) for t in
            (now, now - 1, now - day, now - week, now - 2 * week, now - 10 * week, now - 365 * day, 0, -now,
             I64_MIN, now + 1, now + 100 * week, I64_MAX)
        ], now),
        features_case("ages, half-life one second", a, [
            candidate(b, created_at=t) for t in (now, now - 1, now - 2, now - 20, now - 200, now - 5000, now + 1)
        ], now, half_life=1),
        features_case("the longest age there is", a, [
            candidate(b, created_at=t) for t in (I64_MIN, -1, 0, I64_MAX)
        ], I64_MAX, half_life=day),
        features_case("now before 1970", a, [
            candidate(b, created_at=t) for t in (I64_MIN, -day - week, -day, 0, I64_MAX)
        ], -day),
        features_case("access counts", a, [
            candidate(b, access_count=n) for n in (0, 1, 2, 10, 100, 999, 1000, 1001, 10**6, 2**53 + 1, 2**63, U64_MAX)
        ], now),
        features_case("success rates", a, [
            candidate(b, success_rate=float(np.float32(r))) for r in (0.0, 0.1, 0.5, 2 / 3, 0.999999, 1.0)
        ], now),
        features_case("metadata", a, [
            candidate(b, metadata=m) for m in (
                {}, pair, {"kind": "arithmetic"}, {"kind": "law"}, {"kind": "law", "language": "en"},
                {"kind": "arithmetic", "language": "en", "tenant": "7", "tier": ""},
                {"language": "arithmetic", "kind": "en"}, {"Kind": "arithmetic", "language": "EN"})
        ], now, metadata=pair),
        features_case("metadata, none in the query", a, [candidate(b, metadata=pair), candidate(b)], now),
        features_case("metadata, an empty object in the query", a, [
            candidate(b, metadata=pair), candidate(b)], now, metadata={}),
        features_case("metadata, not only ASCII", a, [
            candidate(b, metadata={"größe": "klein", "emoji": "🦀", "": ""}),
            candidate(b, metadata={"größe": "groß", "emoji": "🦀"}),
        ], now, metadata={"größe": "klein", "emoji": "🦀", "": "", "extra": "1"}),
    ]
    # Counts that are no multiples of a block of rows, dimensions that are and are not
    # multiples of a vector register.
    for dimension, count, half_life in ((3, 5, week), (8, 7, day), (384, 11, week)):
        query = coarse(rng.normal(0, 1, dimension))
        near = rng.random(count)
        cases.append(features_case(f"random, dimension {dimension}", query, [
            candidate(coarse(scale * (x * np.array(query) + (1 - x) * rng.normal(0, 1, dimension))),
                      created_at=now - int(rng.integers(-week, 8 * week)),
                      access_count=int(rng.integers(0, 3000)),
                      success_rate=float(f32(rng.random())),
                      metadata={k: str(rng.integers(0, 2)) for k in ("p", "q", "r")})
            for x, scale in zip(near, rng.choice([0.25, 1.0, 16.0], count))
        ], now, half_life=half_life, metadata={"p": "0", "q": "1", "r": "1", "s": "0"}))
    # Like sentence embeddings: length 1, elements around 0.05.
    rows = rng.normal(0, 1, (4, 384))
    rows = f32(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    query, *others = ([float(x) for x in row] for row in rows)
    cases.append(features_case("length 1, dimension 384", query, [candidate(o) for o in others], now))
    return cases


def candidate(embedding, *, created_at=1_763_000_000, access_count=12, success_rate=0.75, metadata=None):
    return {"embedding": [float(x) for x in f32(np.array(embedding))], "created_at": created_at,
            "access_count": access_count, "success_rate": success_rate, "metadata": metadata or {}}


def features_case(name, query, candidates, now, *, half_life=604_800, metadata=None):
    query = [float(x) for x in f32(np.array(query))]
    for c in candidates:
        age = max(0, now - c["created_at"])
        c["expected"] = digits([
            cosine(query, c["embedding"]),
            2.0 ** -(age / half_life),
            min(1.0, math.log1p(c["access_count"]) / math.log(1001)),
            c["success_rate"],
            jaccard(metadata or {}, c["metadata"]),
        ])
    return {"name": name, "now": now, "half_life_seconds": half_life, "metadata": metadata,
            "query": query, "candidates": candidates}


def cosine(a, b):
    # The product of two float32 is exact in float64, and fsum rounds once.
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    return max(-1.0, min(1.0, dot / norms))


def jaccard(a, b):
    if not a or not b:
        return 0.0
    return len(a.items() & b.items()) / len(a.items() | b.items())


# Mondrian split conformal prediction: Vovk, Gammerman, Shafer, "Algorithmic Learning in a
# Random World", 2005, section 4.5; the taxonomy is the bin of evidence.

MIN_ROWS = 50


def conformal() -> list[dict]:
    rng = np.random.default_rng(20050322)
    cases = []

    # No edges: one bin. With 49 rows the uncertainty is 1, with 50 it is computed.
    for rows in (0, 1, 49, 50, 51, 300):
        cases.append(conformal_case(
            f"one bin of {rows} rows", [], [],
            [row(rng, 0.5, 8) for _ in range(rows)],
            [(c, 0.5, 8) for c in (0.0, 0.125, 0.5, 0.75, 0.9, 0.99, 1.0)]))

    # Every bin of a 4 x 3 grid with its own number of rows, on edges and between them.
    similarity_edges, count_edges = [float(x) for x in f32(np.array([0.3, 0.5, 0.7]))], [4, 32]
    inside = [(-1.0, 0.0, below(similarity_edges[0])),
              (similarity_edges[0], 0.4, below(similarity_edges[1])),
              (similarity_edges[1], 0.6, below(similarity_edges[2])),
              (similarity_edges[2], 0.9, 1.0)]
    counts = [(1, 2, 3), (4, 17, 31), (32, 64, 1000)]
    sizes = [[49, 50, 60], [120, 49, 50], [0, 75, 51], [50, 1, 200]]
    calibration = [row(rng, rng.choice(inside[s]), int(rng.choice(counts[c])))
                   for s in range(4) for c in range(3) for _ in range(sizes[s][c])]
    calibration = [calibration[i] for i in rng.permutation(len(calibration))]
    queries = [(rng.random(), similarity, count)
               for s in range(4) for c in range(3)
               for similarity, count in zip(inside[s], counts[c])]
    queries += [(0.75, similarity, count) for similarity in (-1.0, 0.3, 0.7, 1.0) for count in (0, 4, 32, U64_MAX // 2)]
    cases.append(conformal_case("a grid of 4 x 3 bins", similarity_edges, count_edges, calibration, queries))

    # Edges along one axis only.
    cases.append(conformal_case(
        "similarity edges only", [0.25, 0.5], [],
        [row(rng, rng.random(), int(rng.integers(1, 65))) for _ in range(400)],
        [(c, s, n) for c in (0.1, 0.6) for s in (0.0, 0.25, 0.375, 0.5, 0.75) for n in (1, 64)]))
    cases.append(conformal_case(
        "count edges only", [], [2, 8, 64],
        [row(rng, rng.random(), int(rng.choice([1, 2, 5, 7, 8, 20, 63, 64, 65]))) for _ in range(400)],
        [(c, s, n) for c in (0.1, 0.6) for s in (-0.5, 0.5) for n in (1, 2, 7, 8, 63, 64)]))

    # Ties. Sixteenths: hundreds of equal scores, within and across labels.
    cases.append(conformal_case(
        "ties of sixteenths", [0.5], [8],
        [(int(rng.integers(0, 17)) / 16, int(rng.integers(0, 2)), (0.25, 0.5)[i % 2], (7, 8)[i // 2 % 2])
         for i in range(240)],
        [(k / 16, s, n) for k in range(17) for s, n in ((0.25, 7), (0.5, 8))]))
    # 0.1 and 0.9: in float32 1 - 0.1 is 0.9, in float64 1 - float32(0.1) is another number.
    tenth, nine_tenths = float(f32(0.1)), float(f32(0.9))
    cases.append(conformal_case(
        "ties across labels in float32", [], [],
        [(tenth, 1, 0.5, 8)] * 20 + [(nine_tenths, 0, 0.5, 8)] * 15 + [(nine_tenths, 1, 0.5, 8)] * 25,
        [(c, 0.5, 8) for c in (tenth, nine_tenths, above(tenth), below(tenth), above(nine_tenths), below(nine_tenths))]))
    cases.append(conformal_case(
        "all scores equal", [], [], [(0.5, i % 2, 0.5, 8) for i in range(64)],
        [(c, 0.5, 8) for c in (0.0, below(0.5), 0.5, above(0.5), 1.0)]))
    cases.append(conformal_case(
        "a perfect model", [], [], [(float(i % 2), i % 2, 0.5, 8) for i in range(99)],
        [(c, 0.5, 8) for c in (0.0, 1e-7, 0.5, 1.0)]))
    cases.append(conformal_case(
        "a model that is always wrong", [], [], [(float(i % 2), 1 - i % 2, 0.5, 8) for i in range(99)],
        [(c, 0.5, 8) for c in (0.0, 0.5, 1.0)]))
    return cases


def row(rng, similarity, count):
    """A calibration row of a model that is right about as often as its confidence states."""
    confidence = rng.beta(2.0, 1.2)
    return float(f32(confidence)), int(rng.random() < confidence), float(f32(similarity)), count


def conformal_case(name, similarity_edges, count_edges, calibration, queries):
    def place(similarity, count):
        column = sum(edge <= count for edge in count_edges)
        return sum(edge <= similarity for edge in similarity_edges) * (len(count_edges) + 1) + column

    def nonconformity(confidence, label):
        # In float32, as in the router, so that ties are equal.
        confidence = np.float32(confidence)
        return np.float32(1) - confidence if label == 1 else confidence

    scores: dict[int, list] = {}
    for confidence, label, similarity, count in calibration:
        scores.setdefault(place(similarity, count), []).append(nonconformity(confidence, label))

    def uncertainty(confidence, similarity, count):
        in_bin = scores.get(place(similarity, count), [])
        if len(in_bin) < MIN_ROWS:
            return 1.0
        return min((sum(s >= nonconformity(confidence, label) for s in in_bin) + 1) / (len(in_bin) + 1)
                   for label in (0, 1))

    queries = [(float(f32(c)), float(f32(s)), n) for c, s, n in queries]
    return {
        "name": name,
        "similarity_edges": similarity_edges,
        "count_edges": count_edges,
        "calibration": [{"confidence": c, "label": label, "top_similarity": s, "count": n}
                        for c, label, s, n in calibration],
        "queries": [{"confidence": c, "top_similarity": s, "count": n, "uncertainty": digits(uncertainty(c, s, n))}
                    for c, s, n in queries],
    }


def below(x):
    return float(np.nextafter(np.float32(x), np.float32(-np.inf)))


def above(x):
    return float(np.nextafter(np.float32(x), np.float32(np.inf)))


# Reading and writing of numbers.


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(np.asarray(x) >= 0, 1 / (1 + e), e / (1 + e))


def f32(x):
    """Rounded to float32, kept as float64."""
    return np.asarray(x, dtype=np.float64).astype(np.float32).astype(np.float64)


def coarse(x):
    """Rounded to multiples of 1/1024: exact in float32, short as a decimal."""
    return [float(v) for v in np.round(np.asarray(x) * 1024) / 1024 + 0.0]


def exact(x):
    """For JSON, all digits; a value that float32 cannot hold is an error."""
    x = np.asarray(x, dtype=np.float64)
    if not np.array_equal(f32(x), x):
        raise ValueError("not a float32 value")
    return x.tolist()


def digits(x):
    """For JSON, 12 significant digits."""
    if isinstance(x, (list, np.ndarray)) and np.ndim(x) > 0:
        return [digits(v) for v in x]
    return float(f"{float(x):.12g}") + 0.0


def to_json(cases: list[dict]) -> str:
    """A line for each key of a case, and for each candidate."""
    def value(key, v):
        if key in ("candidates", "calibration", "queries", "alone") and v:
            return "[\n    " + ",\n    ".join(map(dumps, v)) + "\n  ]"
        return dumps(v)

    def dumps(v):
        return json.dumps(v, ensure_ascii=False, allow_nan=False)

    text = ",\n".join("{\n" + ",\n".join(f"  {dumps(k)}: {value(k, v)}" for k, v in case.items()) + "\n}"
                      for case in cases)
    return f"[\n{text}\n]\n"


if __name__ == "__main__":
    sys.exit(main())
