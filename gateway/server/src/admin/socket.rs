//! The admin socket of a running gateway: a Unix socket of mode 0600 in its folder, for its own user alone.

use std::any::Any;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use actix_web::dev::{Extensions, Server};
use actix_web::web::{self, Data, Json};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use anyhow::Context as _;
use gateway_api::error::ErrorCode;

use super::Command;
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::http::problem::ApiResult;
use crate::limits;

/// The one route.
pub(super) const PATH: &str = "/admin/v1";

/// The peer's user, as the kernel says.
struct PeerUser(u32);

/// Whose socket this is.
struct Owner(u32);

/// Serves administrators until stopped.
pub(crate) fn serve(gateway: &Arc<Gateway>) -> anyhow::Result<Server> {
    let path = gateway.layout.socket();
    if path.exists() {
        // The folder's lock is ours, so whoever made this socket is gone.
        std::fs::remove_file(&path).context("cannot remove a stale admin socket")?;
    }
    let listener = UnixListener::bind(&path).with_context(|| {
        format!(
            "cannot listen on `{}` (a socket's path has at most 107 bytes)",
            path.display()
        )
    })?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let owner = Data::new(Owner(std::fs::metadata(&path)?.uid()));
    let data = Data::new(Arc::clone(gateway));
    let app = move || {
        App::new()
            .app_data(data.clone())
            .app_data(owner.clone())
            .app_data(web::JsonConfig::default().limit(limits::BUNDLE_BYTES_MAX * 2))
            .route(PATH, web::post().to(handle))
    };
    let server = HttpServer::new(app)
        .workers(1)
        .on_connect(on_connect)
        .client_request_timeout(limits::HEAD_TIMEOUT)
        .shutdown_timeout(1)
        .disable_signals()
        .listen_uds(listener)?
        .run();
    Ok(server)
}

fn on_connect(connection: &dyn Any, extensions: &mut Extensions) {
    let stream = connection.downcast_ref::<tokio::net::UnixStream>();
    if let Some(credentials) = stream.and_then(|stream| stream.peer_cred().ok()) {
        extensions.insert(PeerUser(credentials.uid()));
    }
}

async fn handle(
    gateway: Data<Arc<Gateway>>,
    owner: Data<Owner>,
    request: HttpRequest,
    command: Json<Command>,
) -> ApiResult {
    let is_owner = request
        .conn_data::<PeerUser>()
        .is_some_and(|user| user.0 == owner.0);
    if !is_owner {
        return Err(Fault::new(
            ErrorCode::IdentityMissing,
            "the admin socket is for the gateway's own user",
        )
        .into());
    }
    Ok(HttpResponse::Ok().json(super::run(&gateway, command.into_inner()).await?))
}
