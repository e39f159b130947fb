//! `stop`: the agent ends, as after a signal.

use actix_web::HttpResponse;
use actix_web::web::Data;

use crate::agent::Agent;

/// Answers, then ends.
pub(crate) async fn stop(agent: Data<Agent>) -> HttpResponse {
    agent.stop.notify_one();
    HttpResponse::Ok().json(serde_json::json!({}))
}
