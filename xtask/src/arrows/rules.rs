//! The allowlists. Why each package is wanted: docs/decisions/0002-dependencies.md.

use super::{Member, Rules};

/// The rules of this workspace.
pub(crate) const RULES: Rules = Rules {
    members: MEMBERS,
    core: "tiny-dancer-core",
    banned_in_core: &[
        // Telemetry
        "fastrace*",
        "log",
        "metrics*",
        "minitrace*",
        "opentelemetry*",
        "prometheus*",
        "slog*",
        "statsd*",
        "tracing*",
        // Asynchronous runtimes
        "async-executor",
        "async-global-executor",
        "async-std",
        "futures-executor",
        "glommio",
        "monoio",
        "smol",
        "tokio*",
    ],
    core_closure: CORE_CLOSURE,
    single: &[
        "opentelemetry",
        "opentelemetry_sdk",
        "prometheus",
        "tracing",
        "tracing-opentelemetry",
        "tracing-subscriber",
    ],
    paired: ("tracing-opentelemetry", "opentelemetry"),
};

/// `core <- metrics`, `core <- tracing`, `core <- train`; `{core, metrics, tracing} <- tiny-dancer`;
/// `{tiny-dancer, train} <- cli, examples, benches`.
const MEMBERS: &[Member] = &[
    Member {
        name: "tiny-dancer-core",
        members: &[],
        packages: &[
            "arc-swap",
            "pulp",
            "quanta",
            "rayon",
            "safetensors",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
        ],
    },
    Member {
        name: "tiny-dancer-metrics",
        members: &["tiny-dancer-core"],
        packages: &["axum", "flate2", "hyper", "hyper-util", "prometheus", "thiserror", "tokio"],
    },
    Member {
        name: "tiny-dancer-tracing",
        members: &["tiny-dancer-core"],
        packages: &[
            "http",
            "opentelemetry",
            "opentelemetry-http",
            "opentelemetry-otlp",
            "opentelemetry-proto",
            "opentelemetry-stdout",
            "opentelemetry_sdk",
            "prost",
            "reqwest",
            "thiserror",
            "tracing",
            "tracing-opentelemetry",
            "tracing-subscriber",
        ],
    },
    Member {
        name: "tiny-dancer",
        members: &["tiny-dancer-core", "tiny-dancer-metrics", "tiny-dancer-tracing"],
        packages: &["thiserror"],
    },
    Member {
        name: "tiny-dancer-train",
        members: &["tiny-dancer-core"],
        packages: &[
            "epaint_default_fonts",
            "half",
            "ndarray",
            "plotters",
            "rand",
            "rand_chacha",
            "rayon",
            "safetensors",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "zstd",
        ],
    },
    Member {
        name: "tiny-dancer-cli",
        members: &["tiny-dancer", "tiny-dancer-train"],
        packages: &["anyhow", "clap", "ctrlc", "hdrhistogram", "indicatif", "serde", "serde_json"],
    },
    Member {
        name: "tiny-dancer-examples",
        members: &["tiny-dancer", "tiny-dancer-train"],
        packages: &[
            "anyhow",
            "axum",
            "half",
            "indicatif",
            "opentelemetry-proto",
            "prost",
            "safetensors",
            "serde",
            "serde_json",
            "tokio",
        ],
    },
    Member {
        name: "tiny-dancer-benches",
        members: &["tiny-dancer", "tiny-dancer-train"],
        packages: &[
            "anyhow",
            "opentelemetry",
            "opentelemetry_sdk",
            "rand",
            "rand_chacha",
            "serde_json",
            "tracing",
            "tracing-opentelemetry",
            "tracing-subscriber",
        ],
    },
    // It judges the others, so it is made of none of them.
    Member { name: "xtask", members: &[], packages: &["anyhow", "cargo_metadata", "clap", "serde_json"] },
];

/// All that is under core at run time, on Linux, by the dependency that brought it first.
const CORE_CLOSURE: &[&str] = &[
    // arc-swap
    "arc-swap",
    "rustversion",
    // pulp: vector instructions
    "bytemuck",
    "libm",
    "num-complex",
    "num-traits",
    "paste",
    "pulp",
    "pulp-wasm-simd-flag",
    "reborrow",
    // quanta: the processor's tick counter
    "bitflags",
    "crossbeam-utils",
    "libc",
    "once_cell",
    "portable-atomic",
    "quanta",
    "raw-cpuid",
    // rayon, with feature `parallel`
    "crossbeam-deque",
    "crossbeam-epoch",
    "either",
    "rayon",
    "rayon-core",
    // safetensors; tempfile and what is under it write a file in one piece
    "allocator-api2",
    "cfg-if",
    "equivalent",
    "errno",
    "fastrand",
    "foldhash",
    "getrandom",
    "hashbrown",
    "linux-raw-sys",
    "rand_core",
    "rustix",
    "safetensors",
    "tempfile",
    // serde and serde_json
    "itoa",
    "memchr",
    "serde",
    "serde_core",
    "serde_derive",
    "serde_json",
    "zmij",
    // sha2
    "block-buffer",
    "const-oid",
    "cpufeatures",
    "crypto-common",
    "digest",
    "hybrid-array",
    "sha2",
    "typenum",
    // thiserror, and what derives for it and serde
    "proc-macro2",
    "quote",
    "syn",
    "thiserror",
    "thiserror-impl",
    "unicode-ident",
];
