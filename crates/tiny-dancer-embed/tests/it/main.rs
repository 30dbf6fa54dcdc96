//! How often embedding allocates, and how much memory an embedder has.

use allocation_counter::measure;
use tiny_dancer_embed::{Embedder, Kernel, MAX_BYTES, StaticEmbedder};

#[test]
fn embed_into_allocates_nothing_once_warm() {
    let text = "What's the difference between a naïve Bayes classifier & logistic regression? 🤔 説明して "
        .repeat(400);
    assert!(text.len() > 2 * MAX_BYTES);
    for kernel in Kernel::available() {
        let embedder = StaticEmbedder::new().with_kernel(kernel);
        let (mut vector, mut ids) = (Vec::new(), Vec::new());
        // The longest text has the most tokens that are read.
        for text in [&".".repeat(MAX_BYTES), &text, &text[..96], "unaffable", "", "\u{0}", "a"] {
            let mut work = || {
                embedder.tokenize(text, &mut ids);
                drop(embedder.embed_into(text, &mut vector));
            };
            if text.len() == MAX_BYTES {
                work();
            }
            assert_eq!(measure(work).count_total, 0, "{}: {} bytes", kernel.name(), text.len());
        }
    }
}

#[test]
fn an_embedder_takes_less_than_4_mib_beside_its_table() {
    let mut embedder = None;
    let counted = measure(|| embedder = Some(StaticEmbedder::new()));
    eprintln!("{counted:?}");
    assert!(counted.bytes_current < 4 << 20, "{counted:?}");
    drop(embedder);
}
