//! Apps: registered by their owner, known by credential and program, given verdicts with a receipt
//! (A10).
//!
//! ```text
//! sealgate-agent app register NAME --program FILE ─► credential file (0600) for the app
//! app: POST /v1/app/check, `authorization: Bearer CREDENTIAL`, a frame ─► verdict, and where it may
//!      be shared a receipt over exactly this content
//! app: POST /v1/app/confirm, the receipt and the digest of what it is about to send ─► once: yes
//! ```
//! What an app that seals by itself may do beyond that is in `app_stories` and `app_lists`.

use std::path::Path;

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::web::{Bytes, Data, Json, Query};
use actix_web::{FromRequest, HttpRequest, dev::Payload};
use agent_seal::DeviceSigner as _;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use policies::terms::{App, Digest};
use rand::Rng as _;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::peer::Peer;
use super::program::Program;
use super::receipt::{Receipt, ReceiptRefused, SignedReceipt};
use super::server::Failure;
use super::timely::Timely;
use super::wire::{
    AppChange, AppCheckAnswer, AppConfirmAnswer, AppConfirmRequest, AppCredential, AppView, AppsAnswer,
    LocalProblem, Outcome, ShareHeader, TamperCause,
};
use crate::agent::Agent;
use crate::compose::{draft, facts, foreign};
use crate::exit::Exit;
use crate::limits::{APPS_MAX, CREDENTIAL_BYTES};
use crate::vault::app::{self, RegisteredApp};

/// Query of a check whose body is the text alone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckQuery {
    list: Option<String>,
}

/// A request of a registered app: its credential and its program were checked.
pub(crate) struct AppClient {
    pub app: App,
}

impl FromRequest for AppClient {
    type Error = Failure;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self, Failure>>>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let agent = request.app_data::<Data<Agent>>().cloned();
        let peer = request.conn_data::<Peer>().cloned();
        let credential = bearer(request).map(str::to_owned);
        Box::pin(async move {
            let (Some(agent), Some(peer)) = (agent, peer) else {
                return Err(unknown());
            };
            let app = known(&agent, &peer, credential.as_deref()).await;
            app.map(|app| Self { app }).map_err(|(cause, refusal)| {
                agent.tampered(cause);
                refusal
            })
        })
    }
}

/// Whether a request claims to be an app's.
pub(crate) fn is_apps(headers: &actix_web::http::header::HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION)
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ")
}

/// The app of a credential, if the peer runs its program.
async fn known(agent: &Agent, peer: &Peer, credential: Option<&str>) -> Result<App, (TamperCause, Failure)> {
    let wrong = || (TamperCause::WrongCredential, unknown());
    let (name, secret) = credential
        .and_then(|credential| credential.rsplit_once('.'))
        .ok_or_else(wrong)?;
    let name = App::parse(name).map_err(|_| wrong())?;
    let registered = read(agent, &name).await.map_err(|_| wrong())?;
    // An unknown name costs the same comparison as a wrong secret.
    let expected = registered
        .as_ref()
        .map_or(Digest::of(b""), |registered| registered.credential_digest);
    let given = Digest::of(secret.as_bytes());
    let equal = verify_slices_are_equal(given.as_bytes(), expected.as_bytes()).is_ok();
    let Some(registered) = registered.filter(|_| equal) else {
        return Err(wrong());
    };
    match program_of(agent, peer).await {
        Ok(program) if program.digest == registered.program_digest => Ok(registered.app),
        Ok(_) | Err(_) => Err((TamperCause::WrongProgram, other_program(&registered.app))),
    }
}

async fn read(agent: &Agent, name: &App) -> anyhow::Result<Option<RegisteredApp>> {
    let mut connection = agent.vault.connection().await?;
    app::by_id(&mut connection, &agent.vault.cipher, name).await
}

/// Reading a large program file is work for another thread.
async fn program_of(agent: &Agent, peer: &Peer) -> anyhow::Result<Program> {
    let (programs, peer) = (std::sync::Arc::clone(&agent.programs), peer.clone());
    tokio::task::spawn_blocking(move || programs.of(&peer)).await?
}

fn unknown() -> Failure {
    let problem = LocalProblem::new(
        Exit::Refused,
        "the credential is not one of a registered app",
        "register the app: sealgate-agent app register NAME --program FILE",
    );
    Failure::with_status(StatusCode::UNAUTHORIZED, problem)
}

fn other_program(app: &App) -> Failure {
    let problem = LocalProblem::new(
        Exit::Refused,
        format!("this program is not the one that was registered as `{app}`"),
        "after an update of the app, register it again: sealgate-agent app register NAME --program FILE --replace",
    );
    Failure::with_status(StatusCode::FORBIDDEN, problem)
}

/// `app list`
pub(crate) async fn list(agent: Data<Agent>) -> Result<Json<AppsAnswer>, Failure> {
    Ok(Json(AppsAnswer {
        apps: views(&agent).await?,
        credential: None,
    }))
}

/// `app register`, `app remove`
pub(crate) async fn change(
    agent: Data<Agent>,
    change: Timely<Json<AppChange>>,
) -> Result<Json<AppsAnswer>, Failure> {
    let credential = match change.0.into_inner() {
        AppChange::Register {
            app,
            program,
            replace,
        } => Some(register(&agent, app, Path::new(&program), replace).await?),
        AppChange::Remove { app } => {
            remove(&agent, &app).await?;
            None
        }
    };
    Ok(Json(AppsAnswer {
        apps: views(&agent).await?,
        credential,
    }))
}

async fn register(agent: &Agent, name: App, program: &Path, replace: bool) -> anyhow::Result<AppCredential> {
    if name == facts::app()? {
        return Err(usage("this name is the agent's own", "choose another name").into());
    }
    let (programs, path) = (std::sync::Arc::clone(&agent.programs), program.to_owned());
    let program = tokio::task::spawn_blocking(move || programs.at(&path)).await??;
    let mut secret = [0; CREDENTIAL_BYTES];
    rand::rng().fill_bytes(&mut secret);
    let secret = hex::encode(secret);
    let registered = RegisteredApp {
        app: name.clone(),
        program: program.path,
        program_digest: program.digest,
        credential_digest: Digest::of(secret.as_bytes()),
        registered_at_s: agent.now_s(),
    };
    let mut transaction = agent.vault.begin().await?;
    let all = app::all(&mut transaction, &agent.vault.cipher).await?;
    let is_known = all.iter().any(|known| known.app == name);
    if is_known && !replace {
        let message = format!("an app is registered as `{name}` already");
        return Err(usage(&message, "use --replace: its old credential ends").into());
    }
    if !is_known && all.len() >= APPS_MAX {
        return Err(usage(
            &format!("{APPS_MAX} apps are registered already"),
            "remove one: sealgate-agent app remove NAME",
        )
        .into());
    }
    app::put(&mut transaction, &agent.vault.cipher, &registered).await?;
    let told = format!("the app `{name}` was registered; it may ask for verdicts");
    agent.notice(&mut transaction, &told).await?;
    transaction.commit().await?;
    agent.changed();
    Ok(AppCredential {
        credential: format!("{name}.{secret}"),
        app: name,
        socket: std::path::absolute(agent.paths.socket())?.display().to_string(),
    })
}

async fn remove(agent: &Agent, name: &App) -> anyhow::Result<()> {
    let mut connection = agent.vault.connection().await?;
    if app::remove(&mut connection, name).await? {
        let told = format!("the app `{name}` was removed");
        agent.notice(&mut connection, &told).await?;
        agent.changed();
        return Ok(());
    }
    Err(usage(
        &format!("no app is registered as `{name}`"),
        "`sealgate-agent app list` shows them",
    )
    .into())
}

async fn views(agent: &Agent) -> anyhow::Result<Vec<AppView>> {
    let mut connection = agent.vault.connection().await?;
    let all = app::all(&mut connection, &agent.vault.cipher).await?;
    let views = all.into_iter().map(|registered| AppView {
        app: registered.app,
        program: registered.program.display().to_string(),
        program_digest: registered.program_digest,
        registered_at_s: registered.registered_at_s,
    });
    Ok(views.collect())
}

/// A verdict for an app, with a receipt where exactly this content may be shared as it is: what the
/// policy would change first has none. With a list of the app's it is an attempt to share, whose permit is kept for
/// what the app seals.
pub(crate) async fn check(
    agent: Data<Agent>,
    client: AppClient,
    request: HttpRequest,
    query: Query<CheckQuery>,
    body: Timely<Bytes>,
) -> Result<Json<AppCheckAnswer>, Failure> {
    let (header, draft) = if is_text(&request) {
        let header = ShareHeader {
            audience: query.list.clone(),
            ..ShareHeader::default()
        };
        (header, draft::build(&[], vec![Zeroizing::new(body.0.to_vec())])?)
    } else {
        draft::from_frame(&body.0)?
    };
    let judged = foreign::check(&agent, &client.app, &header, draft).await?;
    let answer = judged.checked.answer.clone();
    let content = judged.checked.content;
    let as_it_is = answer.outcome == Outcome::Clear && answer.redactions.is_empty();
    let receipt = if as_it_is {
        let receipt = receipt(&agent, client.app, &judged);
        let signed = receipt.sign(&agent.signer)?;
        foreign::keep_verdict(&agent, judged, &receipt).await;
        Some(signed)
    } else {
        None
    };
    Ok(Json(AppCheckAnswer {
        content,
        verdict: answer,
        receipt,
    }))
}

/// A body that is the draft's text and nothing else.
fn is_text(request: &HttpRequest) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/plain"))
}

/// Uses a receipt up for the content that is about to be sent: the last step of an app that sends
/// by itself. Other content, another app, a second time or too late: refused, and counted.
pub(crate) async fn confirm(
    agent: Data<Agent>,
    client: AppClient,
    request: Timely<Json<AppConfirmRequest>>,
) -> Result<Json<AppConfirmAnswer>, Failure> {
    let AppConfirmRequest { receipt, content } = request.0.into_inner();
    let receipt = spend(&agent, &client.app, &receipt, content).await?;
    Ok(Json(AppConfirmAnswer {
        action: receipt.action,
        policy_version: receipt.policy.version,
        decided_at_s: receipt.at_s,
    }))
}

async fn spend(
    agent: &Agent,
    app: &App,
    signed: &SignedReceipt,
    content: Digest,
) -> Result<Receipt, Failure> {
    let refused = |why| bad_receipt(agent, why);
    let checked = signed
        .check(&agent.signer.public_key(), app, content, agent.now_s())
        .map_err(refused)?;
    let mut transaction = agent.vault.begin().await?;
    let receipt = checked.spend(&mut transaction).await?.map_err(refused)?;
    transaction.commit().await.map_err(anyhow::Error::from)?;
    Ok(receipt)
}

/// A receipt that does not count, counted.
pub(crate) fn bad_receipt(agent: &Agent, why: ReceiptRefused) -> Failure {
    agent.tampered(TamperCause::BadReceipt);
    let help = "have exactly what is to be sent checked again";
    let problem = LocalProblem::new(Exit::Refused, why.to_string(), help);
    Failure::with_status(StatusCode::FORBIDDEN, problem)
}

fn receipt(agent: &Agent, app: App, judged: &foreign::Judged) -> Receipt {
    let mut id = [0; 16];
    rand::rng().fill_bytes(&mut id);
    let checked = &judged.checked;
    Receipt::new(
        id,
        app,
        checked.content,
        judged.audience,
        (checked.answer.action, checked.policy),
        agent.now_s(),
    )
}

fn usage(message: &str, help: &str) -> LocalProblem {
    LocalProblem::new(Exit::Usage, message, help)
}
