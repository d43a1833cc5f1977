//! What random damage starts from.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

/// Payloads of real devices and gateways, and payloads that some parser once read wrongly, from a crate's folder.
pub(crate) fn corpus(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(folder).join("fuzz/corpus/payload");
    let files = fs::read_dir(folder).expect("the corpus");
    files.map(|file| fs::read(file.expect("a file").path()).expect("its bytes")).collect()
}

/// One of the seeds, with some of its bytes replaced by pieces.
pub(crate) fn damaged(
    seeds: Vec<Vec<u8>>,
    pieces: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<Index>(), 0..8_usize, pieces), 0..6);
    (prop::sample::select(seeds), damage).prop_map(|(mut bytes, damage)| {
        for (at, gone, piece) in damage {
            let at = at.index(bytes.len() + 1);
            let end = bytes.len().min(at + gone);
            bytes.splice(at..end, piece);
        }
        bytes
    })
}
