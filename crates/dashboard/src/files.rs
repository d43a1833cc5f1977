//! The files that `build.rs` has put into the crate.

/// A file, as it is and compressed.
pub(crate) struct File {
    /// Its place in `dashboard/`.
    pub(crate) path: &'static str,
    /// Its media type.
    pub(crate) media: &'static str,
    /// Its bytes.
    pub(crate) plain: &'static [u8],
    /// Its bytes in Brotli, where that is shorter.
    pub(crate) brotli: Option<&'static [u8]>,
    /// Its bytes in gzip, where that is shorter.
    pub(crate) gzip: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/files.rs"));

impl File {
    /// The file at a path under `dashboard/`.
    pub(crate) fn at(path: &str) -> Option<&'static Self> {
        FILES.binary_search_by(|file| file.path.cmp(path)).ok().map(|found| &FILES[found])
    }
}

/// A file that is served, as a test reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Its place in `dashboard/`.
    pub path: &'static str,
    /// Its bytes.
    pub plain: &'static [u8],
    /// How many bytes a browser of today fetches for it.
    pub compressed: usize,
}

/// All files that are served, the page that refers to them first.
pub fn served() -> impl Iterator<Item = Served> {
    std::iter::once(&SHELL).chain(FILES).map(|file| Served {
        path: file.path,
        plain: file.plain,
        compressed: file.brotli.unwrap_or(file.plain).len(),
    })
}

/// The build's hash, which the addresses of its files begin with.
#[must_use]
pub fn build() -> &'static str {
    BUILD
}
