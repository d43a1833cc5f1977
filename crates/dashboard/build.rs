//! Puts the files of `dashboard/` into the crate: each as it is, and compressed once, as well as it can be.
//!
//! The build's hash covers every file that is served. It is a part of the files' addresses, so that a browser may keep
//! them for ever, and one page is never made of two builds.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use sha2::{Digest, Sha256};

/// What is served, and as what. Other files are for those who work on the page.
const MEDIA: [(&str, &str); 6] = [
    (".html", "text/html; charset=utf-8"),
    (".js", "text/javascript; charset=utf-8"),
    (".css", "text/css; charset=utf-8"),
    (".svg", "image/svg+xml"),
    (".txt", "text/plain; charset=utf-8"),
    (".webmanifest", "application/manifest+json"),
];
/// The page that every address of the dashboard answers with.
const SHELL: &str = "index.html";
/// What stands for the build's hash there.
const BUILD: &str = "{build}";
/// How much better a compressed form must be to be kept, in bytes.
const WORTH: usize = 64;

struct File {
    path: String,
    media: &'static str,
    bytes: Vec<u8>,
}

fn main() -> io::Result<()> {
    // Both as cargo says them now: the program may have been built in another checkout with the same target directory.
    let folder = |name| env::var_os(name).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let (source, out) = (folder("CARGO_MANIFEST_DIR")?.join("../../dashboard"), folder("OUT_DIR")?);
    println!("cargo::rerun-if-changed={}", source.display());
    let mut files = vec![];
    gather(&source, "", &mut files)?;
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let build = hash(&files);
    let mut code = format!("pub(crate) const BUILD: &str = {build:?};\n");
    let (mut shell, mut listed) = (String::new(), String::new());
    for (at, mut file) in files.into_iter().enumerate() {
        if file.path == SHELL {
            let text = String::from_utf8(file.bytes).map_err(io::Error::other)?;
            file.bytes = text.replace(BUILD, &build).into_bytes();
            shell = write(&file, at, &out)?;
        } else {
            listed += &write(&file, at, &out)?;
        }
    }
    writeln!(
        code,
        "pub(crate) static SHELL: File = {}",
        shell.trim_end().trim_end_matches(',').to_owned() + ";"
    )
    .and_then(|()| writeln!(code, "pub(crate) static FILES: &[File] = &[\n{listed}];"))
    .map_err(io::Error::other)?;
    fs::write(out.join("files.rs"), code)
}

fn gather(folder: &Path, within: &str, files: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| io::ErrorKind::InvalidData)?;
        let path = format!("{within}{name}");
        if entry.file_type()?.is_dir() {
            if name != "node_modules" {
                gather(&entry.path(), &format!("{path}/"), files)?;
            }
        } else if let Some((_, media)) = MEDIA.iter().find(|(ending, _)| name.ends_with(ending)) {
            files.push(File { path, media, bytes: fs::read(entry.path())? });
        }
    }
    Ok(())
}

fn hash(files: &[File]) -> String {
    let mut all = Sha256::new();
    for file in files {
        all.update(Sha256::digest(&file.path));
        all.update(Sha256::digest(&file.bytes));
    }
    all.finalize()[..8].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Writes a file's three forms into `out`, and returns the Rust that includes them.
fn write(file: &File, at: usize, out: &Path) -> io::Result<String> {
    let included = |form: &str, bytes: &[u8]| -> io::Result<String> {
        let name = format!("{at}.{form}");
        fs::write(out.join(&name), bytes)?;
        Ok(format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}\"))"))
    };
    let compressed = |form: &str, bytes: Vec<u8>| {
        if bytes.len() + WORTH > file.bytes.len() {
            return Ok::<_, io::Error>("None".to_owned());
        }
        Ok(format!("Some({})", included(form, &bytes)?))
    };
    let plain = included("plain", &file.bytes)?;
    let brotli = compressed("br", with_brotli(&file.bytes)?)?;
    let gzip = compressed("gz", with_gzip(&file.bytes)?)?;
    let (path, media) = (&file.path, file.media);
    Ok(format!(
        "File {{ path: {path:?}, media: {media:?}, plain: {plain}, brotli: {brotli}, gzip: {gzip} }},\n"
    ))
}

fn with_brotli(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressed = vec![];
    let parameters =
        brotli::enc::BrotliEncoderParams { quality: 11, size_hint: bytes.len(), ..Default::default() };
    brotli::BrotliCompress(&mut &*bytes, &mut compressed, &parameters)?;
    Ok(compressed)
}

fn with_gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}
