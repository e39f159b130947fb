//! What the door asks the database about stories, for many of them at once: each look is a hand-over to the database's
//! thread and back, which costs more than the look.
//!
//! ```text
//! handlers ─ bounded channel (full = 503) ─► every question that waits, answered together ─► handlers
//! ```
//!
//! What is answered may have changed a moment later: the writer checks again inside its transaction.

use gateway_api::error::ErrorCode;
use tokio::sync::{mpsc, oneshot};

use crate::domain::fault::Fault;
use crate::limits;
use crate::store::Store;
use crate::store::stories::{AtDoor, Question};

/// The way to ask. What answers ends with it.
pub(crate) struct Door {
    asking: mpsc::Sender<Asked>,
}

struct Asked {
    question: Question,
    answer: oneshot::Sender<Result<AtDoor, Fault>>,
}

impl Door {
    pub(crate) fn open(store: Store) -> Self {
        let (asking, asked) = mpsc::channel(limits::RELAY_QUEUE_MAX);
        tokio::spawn(answer(store, asked));
        Self { asking }
    }

    pub(crate) async fn ask(&self, question: Question) -> Result<AtDoor, Fault> {
        let (answer, answered) = oneshot::channel();
        self.asking
            .try_send(Asked { question, answer })
            .map_err(|_| Fault::new(ErrorCode::Busy, "too many stories are waiting"))?;
        answered
            .await
            .map_err(|_| Fault::new(ErrorCode::StorageFailed, "the database does not answer"))?
    }
}

async fn answer(store: Store, mut asked: mpsc::Receiver<Asked>) {
    let mut batch = Vec::new();
    while asked.recv_many(&mut batch, limits::RELAY_BATCH_MAX).await > 0 {
        let questions: Vec<Question> = batch.iter().map(|asked| asked.question).collect();
        match store.at_door(&questions).await {
            Ok(answers) => {
                for (asked, answer) in batch.drain(..).zip(answers) {
                    drop(asked.answer.send(Ok(answer)));
                }
            }
            Err(error) => {
                let fault = Fault::from(error);
                for asked in batch.drain(..) {
                    drop(
                        asked
                            .answer
                            .send(Err(Fault::new(fault.code, fault.detail.clone()))),
                    );
                }
            }
        }
    }
}
