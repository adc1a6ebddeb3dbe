//! Opening files: plain ones are mapped, `.gz` and `.zst` are unpacked (recognised by their first bytes, not their
//! names), and everything stays inside a stated budget of memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::trec::Bytes;

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Self::Zstd,
            _ => Self::Plain,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// What went wrong while reading: the system, or the packing itself.
    fn error(self, path: &Path, error: io::Error) -> Error {
        match self {
            Self::Plain => Error::io(path, error),
            _ => Error::Compressed { path: path.to_owned(), kind: self.name(), detail: error.to_string() },
        }
    }
}

pub(crate) fn open_file(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    let is_directory = file.metadata().map_err(|error| Error::io(path, error))?.is_dir();
    if is_directory {
        return Err(Error::io(path, io::Error::from(io::ErrorKind::IsADirectory)));
    }
    Ok(file)
}

/// A file whose first bytes were read to see how it is packed, and are read again. A pipe cannot be rewound, so they
/// are put before the rest there.
enum Opened {
    Regular(File),
    Stream(io::Chain<io::Cursor<Vec<u8>>, File>),
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Regular(file) => file.read(buffer),
            Self::Stream(stream) => stream.read(buffer),
        }
    }
}

/// The members of a gzip file one after another. Zeros after the last are padding, as gzip itself takes them.
struct Gzip<R> {
    member: Option<flate2::bufread::GzDecoder<BufReader<R>>>,
}

impl<R: Read> Gzip<R> {
    fn new(stream: R) -> Self {
        Self { member: Some(flate2::bufread::GzDecoder::new(BufReader::with_capacity(64 << 10, stream))) }
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(member) = self.member.take() else { break };
            let mut rest = member.into_inner();
            if skip_zeros(&mut rest)? {
                self.member = Some(flate2::bufread::GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

/// Skips zeros; whether anything follows them.
fn skip_zeros(stream: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = stream.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let ends = zeros < bytes.len();
        stream.consume(zeros);
        if ends {
            return Ok(true);
        }
    }
}

fn open_packed(path: &Path) -> Result<(Opened, Packing)> {
    use std::io::Seek;
    let wrong = |error| Error::io(path, error);
    let mut file = open_file(path)?;
    let mut start = Vec::new();
    (&mut file).take(4).read_to_end(&mut start).map_err(wrong)?;
    let packing = Packing::of(&start);
    if !file.metadata().map_err(wrong)?.is_file() {
        return Ok((Opened::Stream(io::Cursor::new(start).chain(file)), packing));
    }
    file.rewind().map_err(wrong)?;
    Ok((Opened::Regular(file), packing))
}

fn unpacked(file: Opened, packing: Packing, path: &Path) -> Result<Box<dyn BufRead>> {
    const BUFFER_BYTES: usize = 128 << 10;
    Ok(match packing {
        Packing::Plain => Box::new(BufReader::with_capacity(BUFFER_BYTES, file)),
        Packing::Gzip => Box::new(BufReader::with_capacity(BUFFER_BYTES, Gzip::new(file))),
        Packing::Zstd => {
            let decoder = zstd::Decoder::new(file).map_err(|error| packing.error(path, error))?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
    })
}

/// The bytes of a file: mapped when it is plain, in memory when it had to be unpacked.
///
/// # Errors
/// When it cannot be read, is damaged, or unpacks to more than `memory_bytes`. A mapped file is not held in memory
/// by us, so the budget does not apply to it.
pub(crate) fn map(path: &Path, memory_bytes: u64) -> Result<Bytes> {
    let (file, packing) = open_packed(path)?;
    let file = match file {
        Opened::Regular(file) if packing == Packing::Plain => file,
        file => {
            let stream = unpacked(file, packing, path)?;
            let error = |error| packing.error(path, error);
            return read_within(stream, memory_bytes, path, error).map(Bytes::Owned);
        }
    };
    if file.metadata().map_err(|error| Error::io(path, error))?.len() == 0 {
        return Ok(Bytes::Owned(Vec::new()));
    }
    // SAFETY: the map is read-only and private to this process. Nothing here relies on the bytes staying the same:
    // every use checks lengths and UTF-8 on the bytes it reads. A file cut short by somebody else while it is mapped
    // ends the process with a bus error, as with every program that maps its input.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|error| Error::io(path, error))?;
    Ok(Bytes::Mapped(map))
}

/// The bytes of a file that will be held in memory as values of about the same size: its length counts.
pub(crate) fn map_within(path: &Path, budget: &Budget) -> Result<Bytes> {
    budget.expect(path)?;
    map(path, budget.left())
}

/// All of `stream`, refused when longer than `memory_bytes`.
pub(crate) fn read_within(
    stream: impl Read,
    memory_bytes: u64,
    path: &Path,
    error: impl Fn(io::Error) -> Error,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(memory_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > memory_bytes {
        let need_bytes = bytes.len() as u64;
        return Err(Error::MemoryBudget { path: path.to_owned(), budget_bytes: memory_bytes, need_bytes });
    }
    Ok(bytes)
}

/// How much memory a collection may still take.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: u64,
}

impl Budget {
    pub fn new(limit: u64) -> Self {
        Self { limit, used: 0 }
    }

    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// Counts `bytes` more for `path`.
    pub fn charge(&mut self, path: &Path, bytes: u64) -> Result<()> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.limit {
            return Err(self.exceeded(path, self.used));
        }
        Ok(())
    }

    /// Refuses a file at once when its length alone does not fit: what it holds unpacked is never shorter.
    pub fn expect(&self, path: &Path) -> Result<()> {
        let length = std::fs::metadata(path).map_err(|error| Error::io(path, error))?.len();
        if length > self.left() {
            return Err(self.exceeded(path, self.used.saturating_add(length)));
        }
        Ok(())
    }

    fn exceeded(&self, path: &Path, need_bytes: u64) -> Error {
        Error::MemoryBudget { path: path.to_owned(), budget_bytes: self.limit, need_bytes }
    }
}

/// The lines of a file, one at a time, unpacked on the way. No line may be longer than a stated limit.
pub struct Lines {
    path: PathBuf,
    packing: Packing,
    stream: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
    limit_bytes: u64,
}

impl Lines {
    /// Opens a file, plain, `.gz` or `.zst`, whose lines have at most `limit_bytes`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path, limit_bytes: u64) -> Result<Self> {
        let (file, packing) = open_packed(path)?;
        let stream = unpacked(file, packing, path)?;
        Ok(Self { path: path.to_owned(), packing, stream, line: Vec::new(), number: 0, limit_bytes })
    }

    /// The next line with its number, without its end; `None` after the last.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, holds a line that is too long, or bytes that are no UTF-8.
    pub fn next_line(&mut self) -> Result<Option<(u64, &str)>> {
        self.line.clear();
        self.number += 1;
        let mut limited = (&mut self.stream).take(self.limit_bytes.saturating_add(2));
        let read = limited.read_until(b'\n', &mut self.line);
        if read.map_err(|error| self.packing.error(&self.path, error))? == 0 {
            return Ok(None);
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() as u64 > self.limit_bytes {
            let (line, need_bytes) = (self.number, line.len() as u64);
            let (path, limit_bytes) = (self.path.clone(), self.limit_bytes);
            return Err(Error::DocumentTooLarge { path, line, limit_bytes, need_bytes });
        }
        let line = if self.number == 1 { crate::text::without_mark(line) } else { line };
        Ok(Some((self.number, crate::text::utf8(line, &self.path, self.number)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn all_lines(bytes: &[u8], limit: u64) -> Result<Vec<String>> {
        let file = file(bytes);
        let mut lines = Lines::open(file.path(), limit)?;
        let mut all = Vec::new();
        while let Some((_, line)) = lines.next_line()? {
            all.push(line.to_owned());
        }
        Ok(all)
    }

    #[test]
    fn packed_and_plain_files_give_the_same_bytes() {
        let plain = b"one\ntwo\r\nthree";
        for bytes in [plain.to_vec(), gzip(plain), zstd::encode_all(&plain[..], 1).unwrap()] {
            assert_eq!(&*map(file(&bytes).path(), 100).unwrap(), plain);
            assert_eq!(all_lines(&bytes, 100).unwrap(), ["one", "two", "three"]);
        }
        assert!(map(file(b"").path(), 100).unwrap().is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_is_read_like_a_file_and_inside_the_budget() {
        use std::os::fd::AsRawFd;
        let plain = b"one\ntwo\r\nthree";
        for bytes in [plain.to_vec(), gzip(plain)] {
            let piped = || {
                let (reader, mut writer) = io::pipe().unwrap();
                writer.write_all(&bytes).unwrap();
                let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
                (reader, path)
            };
            let (_open, path) = piped();
            assert_eq!(&*map(&path, 100).unwrap(), plain);
            let (_open, path) = piped();
            assert!(matches!(map(&path, 10).unwrap_err(), Error::MemoryBudget { budget_bytes: 10, .. }));
            let (_open, path) = piped();
            assert_eq!(Lines::open(&path, 100).unwrap().next_line().unwrap(), Some((1, "one")));
        }
    }

    #[test]
    fn zeros_after_gzip_are_padding_and_anything_else_is_damage() {
        let mut packed = [gzip(b"one\n"), gzip(b"two\n")].concat();
        packed.resize(200_000, 0);
        assert_eq!(&*map(file(&packed).path(), 100).unwrap(), b"one\ntwo\n");
        packed.push(7);
        assert!(matches!(map(file(&packed).path(), 100).unwrap_err(), Error::Compressed { .. }));
    }

    #[test]
    fn a_stream_that_ends_early_is_an_error_by_name() {
        let text: Vec<u8> = (0..5000u32).flat_map(|n| n.to_string().into_bytes()).collect();
        let packed = gzip(&text);
        let error = map(file(&packed[..packed.len() / 2]).path(), 1 << 20).unwrap_err();
        assert!(matches!(error, Error::Compressed { kind: "gzip", .. }), "{error}");
        let packed = zstd::encode_all(&text[..], 1).unwrap();
        let error = map(file(&packed[..packed.len() / 2]).path(), 1 << 20).unwrap_err();
        assert!(matches!(error, Error::Compressed { kind: "zstd", .. }), "{error}");
    }

    #[test]
    fn what_does_not_fit_the_budget_is_refused_with_both_numbers() {
        let zeros = vec![b'0'; 1 << 20];
        let error = map(file(&gzip(&zeros)).path(), 1000).unwrap_err();
        assert!(matches!(error, Error::MemoryBudget { budget_bytes: 1000, need_bytes: 1001, .. }), "{error}");
        let error = Budget::new(10).expect(file(b"twelve bytes").path()).unwrap_err();
        assert!(matches!(error, Error::MemoryBudget { budget_bytes: 10, need_bytes: 12, .. }), "{error}");
        let error = all_lines(b"short\nfar too long\n", 6).unwrap_err();
        assert!(matches!(error, Error::DocumentTooLarge { line: 2, limit_bytes: 6, .. }), "{error}");
    }
}
