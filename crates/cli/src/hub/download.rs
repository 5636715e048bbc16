//! One file from the hub: what has arrived is kept, gone on with, and verified before it gets its name.

use super::checksum::Summing;
use super::client::{Client, Trouble, say, text};
use super::listing::RemoteFile;
use crate::failure::{Failure, Outcome, While};
use crate::show::number;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::StatusCode;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE};

/// Attempts without a byte of progress before it is given up.
const MAX_ATTEMPTS: u32 = 3;
/// Wait before the second attempt; it triples each time.
const FIRST_WAIT: Duration = Duration::from_millis(150);
/// The same where the hub answers that it cannot do it now, which takes longer to pass.
const MAX_ATTEMPTS_IF_BUSY: u32 = 4;
const FIRST_WAIT_IF_BUSY: Duration = Duration::from_millis(300);
/// Longest that is waited without a byte of progress, all waits together; who has to wait longer is told so.
const MAX_WAITS: Duration = Duration::from_secs(8);
/// Bytes moved at a time.
const CHUNK_BYTES: usize = 1 << 17;

/// What a file is to be called here.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name once it is whole.
    pub whole: PathBuf,
    /// Its name until then.
    pub partial: PathBuf,
}

impl Target {
    /// The partial file stands beside the whole one.
    pub fn new(whole: PathBuf) -> Self {
        let mut partial = whole.clone().into_os_string();
        partial.push(".incomplete");
        Self { whole, partial: partial.into() }
    }
}

/// Fetches a file at a commit of a repository. `watch` is told how many bytes are there, again and again; those from
/// before come first.
///
/// # Errors
/// When it cannot be had or written, when it is not what was promised, and when another process is fetching it.
pub fn fetch(
    client: &Client,
    place: &str,
    file: &RemoteFile,
    target: &Target,
    watch: &mut dyn FnMut(u64),
) -> Outcome<()> {
    let path = &target.partial;
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).during(format!("cannot make {}", directory.display()))?;
    let mut transfer = Transfer::open(client, format!("{place}/{}", escaped(&file.path)), file, path)?;
    transfer.resume(watch).during(format!("cannot read {}", path.display()))?;
    transfer.run(watch)?;
    transfer.verify()?;
    transfer.out.sync_all().during(format!("cannot write {}", path.display()))?;
    std::fs::rename(path, &target.whole).during(format!("cannot rename {}", path.display()))
}

/// Tries again while the trouble is passing, a few times.
///
/// # Errors
/// The last trouble, when it lasts.
pub(super) fn persist<T>(mut attempt: impl FnMut() -> Result<T, Trouble>) -> Outcome<T> {
    let mut patience = Patience::default();
    loop {
        match attempt() {
            Err(trouble) => patience.await_next(trouble)?,
            Ok(found) => return Ok(found),
        }
    }
}

/// What was spent on attempts without progress.
#[derive(Clone, Copy, Debug, Default)]
struct Patience {
    n_failed: u32,
    waited: Duration,
}

impl Patience {
    /// Waits for the next attempt after one without progress, and says so.
    ///
    /// # Errors
    /// The trouble itself, when it lasts, when there were enough attempts, or when the hub asks for a long wait.
    fn await_next(&mut self, trouble: Trouble) -> Outcome<()> {
        let Some((message, wait)) = self.next_wait(&trouble) else { return Err(given_up(trouble)) };
        say(&format!("{message}; trying again in {}", number::duration(wait)));
        std::thread::sleep(wait);
        self.waited += wait;
        Ok(())
    }

    /// What is said before the next attempt, and how long is waited for it; `None` where there is none.
    fn next_wait<'t>(&mut self, trouble: &'t Trouble) -> Option<(&'t str, Duration)> {
        self.n_failed += 1;
        let (message, asked, first, n_most) = match trouble {
            Trouble::Passing(message) => (message, None, FIRST_WAIT, MAX_ATTEMPTS),
            Trouble::Busy { message, asked, .. } => (message, *asked, FIRST_WAIT_IF_BUSY, MAX_ATTEMPTS_IF_BUSY),
            Trouble::Unconnected(_) | Trouble::Lasting(_) => return None,
        };
        let wait = asked.unwrap_or(first * 3_u32.pow(self.n_failed - 1));
        let is_short = self.waited.saturating_add(wait) <= MAX_WAITS;
        (self.n_failed < n_most && is_short).then_some((message, wait))
    }
}

/// The trouble in words, with the wait that was asked for.
fn given_up(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Busy { message, asked: Some(asked), advice } if asked > Duration::ZERO => {
            let message = format!("{message}, and asks to be left alone for {}", number::duration(asked));
            Trouble::Busy { message, asked: None, advice }.into()
        }
        other => other.into(),
    }
}

/// A file that is on its way.
struct Transfer<'t> {
    client: &'t Client,
    address: String,
    file: &'t RemoteFile,
    path: &'t Path,
    out: File,
    n_there: u64,
    sum: Summing,
}

impl<'t> Transfer<'t> {
    fn open(client: &'t Client, address: String, file: &'t RemoteFile, path: &'t Path) -> Outcome<Self> {
        let out = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let out = out.during(format!("cannot write {}", path.display()))?;
        match out.try_lock() {
            Err(TryLockError::WouldBlock) => {
                Err(Failure::new(format!("another process is fetching {}; wait for it", file.path)))
            }
            // Some file systems know no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {
                Ok(Self { client, address, file, path, out, n_there: 0, sum: file.checksum.begin(file.n_bytes) })
            }
        }
    }

    /// Sums what was fetched before.
    fn resume(&mut self, watch: &mut dyn FnMut(u64)) -> std::io::Result<()> {
        if self.out.metadata()?.len() > self.file.n_bytes {
            self.out.set_len(0)?;
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let n = self.out.read(&mut chunk)?;
            if n == 0 {
                watch(self.n_there);
                return Ok(());
            }
            self.sum.update(&chunk[..n]);
            self.n_there += n as u64;
        }
    }

    /// Fetches what is missing.
    fn run(&mut self, watch: &mut dyn FnMut(u64)) -> Outcome<()> {
        let mut patience = Patience::default();
        while self.n_there < self.file.n_bytes {
            let n_before = self.n_there;
            match self.attempt(watch) {
                Ok(()) => {}
                Err(Trouble::Lasting(message)) => return Err(Failure::new(format!("{}: {message}", self.file.path))),
                Err(trouble) => {
                    if self.n_there > n_before {
                        patience = Patience::default();
                    }
                    patience.await_next(trouble).map_err(|failure| self.interrupted(failure.message()))?;
                }
            }
        }
        Ok(())
    }

    fn interrupted(&self, message: &str) -> Failure {
        let Self { file, n_there, .. } = self;
        Failure::new(format!(
            "{}: {message}; {n_there} of {} bytes are kept, the same command goes on with them",
            file.path, file.n_bytes
        ))
    }

    /// Asks once for what is missing and writes what comes.
    fn attempt(&mut self, watch: &mut dyn FnMut(u64)) -> Result<(), Trouble> {
        let response = self.client.get(&self.address, self.n_there)?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if self.n_there > 0 => {
                let range = text(&response, &CONTENT_RANGE).unwrap_or_default();
                let expected = format!("bytes {}-{}/{}", self.n_there, self.file.n_bytes - 1, self.file.n_bytes);
                if range != expected {
                    return Err(Trouble::Lasting(format!("was asked for '{expected}', but '{range}' is sent")));
                }
            }
            StatusCode::OK => self.restart()?,
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.restart()?;
                return Err(Trouble::Passing("the hub cannot go on from where it was".to_owned()));
            }
            status => return Err(Trouble::Lasting(format!("the hub answers {status} in place of content"))),
        }
        let n_missing = self.file.n_bytes - self.n_there;
        let n_sent = text(&response, &CONTENT_LENGTH).and_then(|n| n.parse::<u64>().ok()).unwrap_or(n_missing);
        if n_sent != n_missing {
            return Err(self.broken_promise(&format!("{n_missing} bytes were promised, but {n_sent} are sent")));
        }
        self.receive(&mut response.into_body().into_reader(), watch)
    }

    fn receive(&mut self, reader: &mut dyn Read, watch: &mut dyn FnMut(u64)) -> Result<(), Trouble> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let n = reader.read(&mut chunk);
            let n = n.map_err(|error| Trouble::Passing(format!("the connection broke off ({error})")))?;
            if n == 0 && self.n_there < self.file.n_bytes {
                return Err(Trouble::Passing("the connection ended early".to_owned()));
            }
            if n == 0 {
                return Ok(());
            }
            if self.n_there + n as u64 > self.file.n_bytes {
                return Err(
                    self.broken_promise(&format!("more than the promised {} bytes are sent", self.file.n_bytes))
                );
            }
            self.out.write_all(&chunk[..n]).map_err(|error| self.cannot_write(&error))?;
            self.sum.update(&chunk[..n]);
            self.n_there += n as u64;
            watch(self.n_there);
        }
    }

    fn restart(&mut self) -> Result<(), Trouble> {
        let empty = self.out.set_len(0).and_then(|()| self.out.seek(SeekFrom::Start(0)));
        empty.map_err(|error| self.cannot_write(&error))?;
        self.n_there = 0;
        self.sum = self.file.checksum.begin(self.file.n_bytes);
        Ok(())
    }

    fn cannot_write(&self, error: &std::io::Error) -> Trouble {
        Trouble::Lasting(format!("cannot write {}: {error}", self.path.display()))
    }

    /// What came cannot be trusted, so it goes.
    fn broken_promise(&self, what: &str) -> Trouble {
        let _ = std::fs::remove_file(self.path);
        Trouble::Lasting(format!("{what}; what came was deleted, try again or choose another hub by HF_ENDPOINT"))
    }

    fn verify(&self) -> Outcome<()> {
        let RemoteFile { path, checksum, .. } = self.file;
        let found = self.sum.clone().finish();
        if found == checksum.digits() {
            return Ok(());
        }
        let what = format!(
            "its {} is {found}, expected {}: other bytes came than were promised",
            checksum.name(),
            checksum.digits()
        );
        Err(Failure::from(self.broken_promise(&what))).during(path)
    }
}

/// A path in an address: everything but plain characters is written as its bytes.
fn escaped(path: &str) -> String {
    path.bytes().fold(String::new(), |text, byte| match byte {
        b'/' | b'-' | b'_' | b'.' | b'~' => text + &char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => text + &char::from(byte).to_string(),
        _ => format!("{text}%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn paths_become_addresses() {
        assert_eq!(escaped("q/model-00001_a.gguf"), "q/model-00001_a.gguf");
        assert_eq!(escaped("a b?c#é%"), "a%20b%3Fc%23%C3%A9%25");
    }

    fn busy(asked: Option<u64>) -> Trouble {
        let (message, advice) = ("hub answers 429".to_owned(), "wait".to_owned());
        Trouble::Busy { message, asked: asked.map(Duration::from_secs), advice }
    }

    fn broken() -> Trouble {
        Trouble::Passing("x".to_owned())
    }

    /// How often is asked again, and how long is waited for that in all.
    fn spent(trouble: impl Fn() -> Trouble) -> (usize, Duration) {
        let (mut patience, mut waits) = (Patience::default(), Vec::new());
        while let Some((_, wait)) = patience.next_wait(&trouble()) {
            patience.waited += wait;
            waits.push(wait);
        }
        (waits.len(), waits.iter().sum())
    }

    #[test]
    fn waits_are_few_and_short() {
        assert_eq!(spent(broken), (2, Duration::from_millis(600)));
        assert_eq!(spent(|| busy(None)), (3, Duration::from_millis(3900)));
        assert_eq!(spent(|| busy(Some(0))), (3, Duration::ZERO));
        assert_eq!(spent(|| busy(Some(3))), (2, Duration::from_secs(6)));
        assert_eq!(spent(|| busy(Some(u64::MAX))), (0, Duration::ZERO));
        assert_eq!(spent(|| Trouble::Lasting("x".to_owned())).0, 0);
        assert_eq!(spent(|| Trouble::Unconnected("x".to_owned())).0, 0);
    }

    #[test]
    fn long_waits_are_told_and_not_waited_for() {
        let start = Instant::now();
        let message = |mut patience: Patience, trouble| patience.await_next(trouble).unwrap_err().message().to_owned();
        let fresh = Patience::default();
        let expect = "hub answers 429, and asks to be left alone for 2 h 00 min; wait";
        assert_eq!(message(fresh, busy(Some(7200))), expect);
        assert_eq!(message(Patience { n_failed: 3, ..fresh }, busy(None)), "hub answers 429; wait");
        assert_eq!(message(Patience { n_failed: 2, ..fresh }, broken()), "x");
        let mut patience = fresh;
        assert!(patience.await_next(busy(Some(0))).is_ok());
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}
