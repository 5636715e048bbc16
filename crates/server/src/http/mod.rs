//! Connections: who may connect, how long anything may take, and how the server ends.

mod base64;
mod body;
mod connection;
mod guard;
mod input;
mod port;
mod sse;
mod timed;

pub use base64::to_base64;
pub use body::{Body, json, json_status, with_type};
pub use input::{Room, read_json};
pub use port::owner_of_port;
pub use sse::{Ended, Events, stream};

use crate::limits::N_CONNECTIONS;
use crate::model::{Model, Served};
use crate::settings::{Error, Settings};
use crate::state::{Stage, State, closing, draining};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// Time that streams have for their last word.
const LAST_WORD: Duration = Duration::from_secs(2);
/// Time to wait when the system has no connection to give, as when all file descriptors are in use.
const NO_CONNECTION: Duration = Duration::from_millis(50);

/// Listens at the address of the settings, before any model is loaded.
///
/// # Errors
/// When the settings would let strangers in, or the address cannot be had.
pub fn bind(settings: &Settings) -> Result<std::net::TcpListener, Error> {
    check(settings)?;
    let address = settings.address;
    std::net::TcpListener::bind(address).map_err(|source| Error::Address { address, source })
}

/// Serves until the program is told to end (SIGTERM or Ctrl-C), then lets open answers end; a second signal ends them at once.
/// `ready` is told the address once requests are taken.
///
/// # Errors
/// When the system grants no threads or signals.
pub fn serve(
    listener: std::net::TcpListener,
    models: Vec<Model>,
    settings: Settings,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), Error> {
    raise_file_limit();
    let models = start_workers(models, &settings).map_err(Error::System)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(Error::System)?;
    let served = runtime.block_on(async {
        listener.set_nonblocking(true).map_err(Error::System)?;
        let listener = TcpListener::from_std(listener).map_err(Error::System)?;
        let (tell, stage) = watch::channel(Stage::Serving);
        let drain = settings.drain;
        let state = Arc::new(State { settings, models, stage: stage.clone() });
        let signals = Signals::listen().map_err(Error::System)?;
        ready(listener.local_addr().map_err(Error::System)?);
        tokio::spawn(end_on_signal(signals, tell, state.clone(), drain));
        run(&listener, &state, stage).await;
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    served
}

fn check(settings: &Settings) -> Result<(), Error> {
    if !settings.address.ip().is_loopback() && settings.keys.is_empty() {
        return Err(Error::Settings(format!(
            "{} can be reached from other machines, and without a key anybody there could use the model; give \
             --api-key-file FILE, or listen at 127.0.0.1",
            settings.address.ip()
        )));
    }
    if let Some(key) = settings.keys.iter().find(|key| key.len() < 16) {
        let n = key.len();
        return Err(Error::Settings(format!("a key has {n} characters, which can be guessed; give each at least 16")));
    }
    Ok(())
}

fn start_workers(models: Vec<Model>, settings: &Settings) -> std::io::Result<Vec<Arc<Served>>> {
    models.into_iter().map(|model| Served::start(model, settings).map(Arc::new)).collect()
}

/// Many systems give a program 1024 files by default and many more when asked; a connection is a file.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer files there are fewer connections.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The signals that end programs.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn end_on_signal(mut signals: Signals, tell: watch::Sender<Stage>, state: Arc<State>, drain: Duration) {
    signals.next().await;
    state.models.iter().for_each(|model| model.worker.drain());
    tell.send_replace(Stage::Draining);
    tokio::select! {
        () = tokio::time::sleep(drain) => {}
        () = signals.next() => {}
    }
    tell.send_replace(Stage::Closing);
    // Kept until the server is gone, so that nobody takes a closed channel for an end.
    tokio::time::sleep(Duration::MAX).await;
}

/// Accepts connections until it is told to end, then waits for those that are open.
async fn run(listener: &TcpListener, state: &Arc<State>, mut stage: watch::Receiver<Stage>) {
    let places = Arc::new(Semaphore::new(N_CONNECTIONS));
    let bodies = Arc::new(Semaphore::new(crate::limits::ALL_BODIES_BYTES / 1024));
    loop {
        let accepted = tokio::select! {
            () = draining(&mut stage) => break,
            accepted = accept(listener, &places) => accepted,
        };
        match accepted {
            Some((stream, place)) => {
                drop(tokio::spawn(connection::serve(stream, state.clone(), bodies.clone(), place)))
            }
            None => tokio::time::sleep(NO_CONNECTION).await,
        }
    }
    let everybody = places.acquire_many(N_CONNECTIONS as u32);
    let time = async {
        closing(&mut stage).await;
        tokio::time::sleep(LAST_WORD).await;
    };
    tokio::select! {
        _ = everybody => {}
        () = time => {}
    }
}

/// The next connection once there is a place for one; `None` when the system has none to give.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    let (stream, _) = listener.accept().await.ok()?;
    Some((stream, place))
}
