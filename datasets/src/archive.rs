//! Archives: members read one at a time inside a budget, or unpacked into a folder. A member that would land outside
//! it, that is a link, or that unpacks beyond the limit is refused by name, and nothing is left behind.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::manifest::{Unpack, is_plain_path};
use crate::source::open_file;

/// Limits on what an archive may unpack to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All members together, in bytes.
    pub total_bytes: u64,
    /// How many members there may be.
    pub members: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total_bytes: 64 << 30, members: 10_000_000 }
    }
}

/// Unpacks `archive` into the folder `target`, which must not exist yet: into a temporary folder beside it first,
/// renamed when all is there. With `strip_prefix`, that folder of the archive becomes `target`, and members outside
/// it are left out.
///
/// # Errors
/// A member that leaves the folder, is a link or a device, goes beyond `limits`, or is damaged; a `target` that
/// exists. Nothing is left behind then.
pub fn unpack(
    archive: &Path,
    kind: Unpack,
    target: &Path,
    strip_prefix: Option<&str>,
    limits: &Limits,
) -> Result<()> {
    if target.exists() {
        return Err(Error::Exists { path: target.to_owned() });
    }
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| Error::io(parent, error))?;
    let folder = tempfile::Builder::new()
        .prefix(".unpacking-")
        .suffix(&crate::store::unfinished_suffix())
        .tempdir_in(parent);
    let folder = folder.map_err(|error| Error::io(parent, error))?;
    let inside = folder.path().join("unpacked");
    fs::create_dir(&inside).map_err(|error| Error::io(&inside, error))?;
    let mut write = |member: &str, stream: &mut dyn Read| match place_of(member, strip_prefix) {
        None => Ok(()),
        Some(place) => write_member(&inside.join(place), stream, archive, kind.name()),
    };
    match kind {
        Unpack::Zip => walk_zip(archive, limits, &mut write)?,
        Unpack::TarGz => walk_tar(archive, limits, &mut write)?,
    }
    fs::rename(&inside, target).map_err(|error| Error::io(target, error))
}

impl Unpack {
    fn name(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::TarGz => "tar",
        }
    }
}

/// Where a member goes below the target; `None` when it is outside the stripped folder.
fn place_of(member: &str, strip_prefix: Option<&str>) -> Option<PathBuf> {
    let inside = match strip_prefix {
        None => member,
        Some(prefix) => member.strip_prefix(prefix.trim_end_matches('/'))?.strip_prefix('/')?,
    };
    Some(inside.into())
}

fn write_member(path: &Path, stream: &mut dyn Read, archive: &Path, kind: &'static str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| Error::io(parent, error))?;
    }
    let mut file = File::create_new(path).map_err(|error| Error::io(path, error))?;
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = stream.read(&mut buffer).map_err(|error| damaged(archive, kind, error))?;
        if read == 0 {
            return Ok(());
        }
        file.write_all(&buffer[..read]).map_err(|error| Error::io(path, error))?;
    }
}

/// Calls `each` with the name and the bytes of every file in the zip at `path`, in the archive's order.
pub(crate) fn for_each_zip_member(
    path: &Path,
    memory_bytes: u64,
    mut each: impl FnMut(&str, Vec<u8>) -> Result<()>,
) -> Result<()> {
    let limits = Limits { total_bytes: memory_bytes, ..Limits::default() };
    walk_zip(path, &limits, &mut |member, stream| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map_err(|error| damaged(path, "zip", error))?;
        each(member, bytes)
    })
}

/// Calls `each` with the name and the bytes of every file in the gzipped tar at `path`, in the archive's order.
pub(crate) fn for_each_tar_member(
    path: &Path,
    memory_bytes: u64,
    mut each: impl FnMut(&str, Vec<u8>) -> Result<()>,
) -> Result<()> {
    let limits = Limits { total_bytes: memory_bytes, ..Limits::default() };
    walk_tar(path, &limits, &mut |member, stream| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map_err(|error| damaged(path, "tar", error))?;
        each(member, bytes)
    })
}

type Each<'a> = &'a mut dyn FnMut(&str, &mut dyn Read) -> Result<()>;

/// What is left of the limits, and the archive it is about.
struct Guard<'a> {
    archive: &'a Path,
    limits: Limits,
    bytes_left: u64,
    members_left: usize,
}

impl<'a> Guard<'a> {
    fn new(archive: &'a Path, limits: &Limits) -> Self {
        Self { archive, limits: *limits, bytes_left: limits.total_bytes, members_left: limits.members }
    }

    fn refuse(&self, member: &str, reason: impl Into<String>) -> Error {
        let member = member.escape_default().to_string();
        Error::RefusedMember { path: self.archive.to_owned(), member, reason: reason.into() }
    }

    /// Whether `member` may be unpacked at all.
    fn admit(&mut self, member: &str) -> Result<()> {
        if !is_plain_path(member) {
            return Err(self.refuse(member, "its path leaves the folder it is unpacked into"));
        }
        match self.members_left.checked_sub(1) {
            Some(left) => self.members_left = left,
            None => return Err(self.refuse(member, format!("more than {} members", self.limits.members))),
        }
        Ok(())
    }

    /// Hands `stream` to `each`, at most what is left of the limit; whatever the archive's headers promise.
    fn pass(&mut self, member: &str, stream: &mut dyn Read, each: Each<'_>) -> Result<()> {
        let mut counted = Counted { stream, left: self.bytes_left, exceeded: false };
        let result = each(member, &mut counted);
        if counted.exceeded {
            let reason = format!("the archive unpacks to more than {} bytes", self.limits.total_bytes);
            return Err(self.refuse(member, reason));
        }
        self.bytes_left = counted.left;
        result
    }
}

/// A stream that fails when more than `left` bytes come out of it.
struct Counted<'a> {
    stream: &'a mut dyn Read,
    left: u64,
    exceeded: bool,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.exceeded = true;
                return Err(io::Error::other("beyond the limit"));
            }
        }
        Ok(read)
    }
}

fn damaged(path: &Path, kind: &'static str, error: impl std::fmt::Display) -> Error {
    Error::Compressed { path: path.to_owned(), kind, detail: error.to_string() }
}

fn walk_zip(path: &Path, limits: &Limits, each: Each<'_>) -> Result<()> {
    let wrong = |error: zip::result::ZipError| damaged(path, "zip", error);
    let mut archive = zip::ZipArchive::new(open_file(path)?).map_err(wrong)?;
    let mut guard = Guard::new(path, limits);
    for at in 0..archive.len() {
        let mut member = archive.by_index(at).map_err(wrong)?;
        let name = member.name().map_err(wrong)?.into_owned();
        if member.is_symlink() {
            return Err(guard.refuse(&name, "it is a link"));
        }
        guard.admit(name.trim_end_matches('/'))?;
        if !member.is_dir() {
            guard.pass(&name, &mut member, each)?;
        }
    }
    Ok(())
}

/// A tar archive is a sequence of 512-byte headers, each followed by its member's bytes padded to 512. Names are
/// ustar's `prefix/name`, or GNU's long-name members (`L`), or a pax header's `path` (`x`).
fn walk_tar(path: &Path, limits: &Limits, each: Each<'_>) -> Result<()> {
    let wrong = |error: io::Error| damaged(path, "gzip", error);
    let mut stream = io::BufReader::new(flate2::read::MultiGzDecoder::new(open_file(path)?));
    let mut guard = Guard::new(path, limits);
    let mut long_name = None;
    let mut header = [0; 512];
    while read_header(&mut stream, &mut header, path)? {
        let entry = TarHeader::parse(&header).ok_or_else(|| damaged(path, "tar", "a header that is none"))?;
        let name = long_name.take().unwrap_or(entry.name);
        let mut inside = (&mut stream).take(entry.bytes);
        match entry.kind {
            b'0' | 0 | b'7' if !name.ends_with('/') => {
                guard.admit(name.strip_prefix("./").unwrap_or(&name))?;
                guard.pass(name.strip_prefix("./").unwrap_or(&name), &mut inside, each)?;
            }
            b'0' | 0 | b'5' | b'7' => {
                let folder = name.trim_end_matches('/');
                if folder != "." {
                    guard.admit(folder.strip_prefix("./").unwrap_or(folder))?;
                }
            }
            b'L' => long_name = Some(text_member(&mut inside, path)?.trim_end_matches('\0').to_owned()),
            b'x' => long_name = pax_path(&text_member(&mut inside, path)?),
            b'g' => {}
            b'1' | b'2' => return Err(guard.refuse(&name, "it is a link")),
            other => return Err(guard.refuse(&name, format!("it is neither file nor folder (type {other})"))),
        }
        // What `each` left unread, and the padding.
        io::copy(&mut inside, &mut io::sink()).map_err(wrong)?;
        if inside.limit() > 0 {
            return Err(damaged(path, "tar", format!("member \"{name}\" ends early")));
        }
        let padding = (512 - entry.bytes % 512) % 512;
        io::copy(&mut (&mut stream).take(padding), &mut io::sink()).map_err(wrong)?;
    }
    Ok(())
}

/// Reads the next header; `false` at the end (two zero blocks, or the end of the stream between members).
fn read_header(stream: &mut impl Read, header: &mut [u8; 512], path: &Path) -> Result<bool> {
    let mut filled = 0;
    while filled < header.len() {
        let read = stream.read(&mut header[filled..]).map_err(|error| damaged(path, "gzip", error))?;
        if read == 0 && filled > 0 {
            return Err(damaged(path, "tar", "a header that ends early"));
        }
        if read == 0 {
            return Ok(false);
        }
        filled += read;
    }
    Ok(header.iter().any(|&byte| byte != 0))
}

/// A small member that holds a name, not a file.
fn text_member(stream: &mut impl Read, path: &Path) -> Result<String> {
    const LONGEST: u64 = 1 << 16;
    let mut bytes = Vec::new();
    stream.take(LONGEST).read_to_end(&mut bytes).map_err(|error| damaged(path, "gzip", error))?;
    String::from_utf8(bytes).map_err(|error| damaged(path, "tar", error))
}

/// The `path` record of a pax header: `length path=name\n`.
fn pax_path(records: &str) -> Option<String> {
    records.lines().find_map(|record| record.split_once(' ')?.1.strip_prefix("path=")).map(str::to_owned)
}

struct TarHeader {
    name: String,
    bytes: u64,
    kind: u8,
}

impl TarHeader {
    fn parse(header: &[u8; 512]) -> Option<Self> {
        let octal = |field: &[u8]| {
            let digits = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
            u64::from_str_radix(if digits.is_empty() { "0" } else { digits }, 8).ok()
        };
        let text = |field: &[u8]| {
            let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
            std::str::from_utf8(&field[..end]).ok().map(str::to_owned)
        };
        // The checksum counts its own eight bytes as blanks.
        let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
        let own: u64 = header[148..156].iter().map(|&byte| u64::from(byte)).sum();
        if octal(&header[148..156])? != sum - own + 8 * u64::from(b' ') {
            return None;
        }
        let (name, prefix) = (text(&header[..100])?, text(&header[345..500])?);
        let is_ustar = &header[257..263] == b"ustar\0";
        let name = if is_ustar && !prefix.is_empty() { format!("{prefix}/{name}") } else { name };
        Some(Self { name, bytes: octal(&header[124..136])?, kind: header[156] })
    }
}
