//! What every request sees of the server.

use crate::model::Served;
use crate::problem::Problem;
use crate::settings::Settings;
use hyper::StatusCode;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::watch;

/// What every request sees of the server.
pub struct State {
    pub settings: Settings,
    pub models: Vec<Arc<Served>>,
    /// How far the end has come.
    pub stage: watch::Receiver<Stage>,
}

/// How far the end of the server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It serves.
    Serving,
    /// It was told to end: nothing new is taken in, what is open goes on.
    Draining,
    /// Time is up: what is open ends with a last word.
    Closing,
}

impl State {
    /// The model of this name; the first where none is named.
    ///
    /// # Errors
    /// 404 with the names that there are.
    pub fn model(&self, name: Option<&str>) -> Result<&Arc<Served>, Problem> {
        let found = match name {
            None => self.models.first(),
            Some(name) => self.models.iter().find(|model| model.name == name),
        };
        found.ok_or_else(|| {
            let known: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
            let shown: String = name.unwrap_or_default().chars().take(80).collect();
            let message = format!("there is no model `{shown}` here; there is {}", known.join(", "));
            Problem {
                param: Some("model".to_owned()),
                ..Problem::new(StatusCode::NOT_FOUND, "model_not_found", message)
            }
        })
    }

    /// Whether every worker is alive and takes requests.
    pub fn is_ready(&self) -> bool {
        *self.stage.borrow() == Stage::Serving && self.models.iter().all(|model| model.worker.is_ready())
    }
}

/// Ends when the server was told to end.
pub async fn draining(stage: &mut watch::Receiver<Stage>) {
    // Without a sender the server is gone, which is as good.
    let _ = stage.wait_for(|stage| *stage > Stage::Serving).await;
}

/// Ends when time is up.
pub async fn closing(stage: &mut watch::Receiver<Stage>) {
    // Without a sender the server is gone, which is as good.
    let _ = stage.wait_for(|stage| *stage == Stage::Closing).await;
}

/// What comes of `work`, unless time is up before.
///
/// # Errors
/// Those of `work`; 503 when time is up.
pub async fn unless_closing<T>(
    stage: &watch::Receiver<Stage>,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let mut stage = stage.clone();
    tokio::select! {
        done = work => done,
        () = closing(&mut stage) => Err(Problem::shutting_down()),
    }
}
