//! Version 1: one file per operation, paths as in `gateway-api`.

mod blobs;
mod bundle;
mod device_lists;
mod directory;
mod enroll;
mod events;
mod groups;
mod key_packages;
mod preflight;
mod rejoin;
mod renew;
mod stories;
mod sync;
mod unenroll;

use actix_web::web::{self, ServiceConfig};
use gateway_api::v1 as api;

/// The route table.
pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .route(api::enroll::PATH, web::post().to(enroll::enroll))
        .route(api::renew::PATH, web::post().to(renew::renew))
        .route(api::directory::PEOPLE_PATH, web::get().to(directory::people))
        .route(
            api::directory::CHECKPOINT_PATH,
            web::get().to(directory::checkpoint),
        )
        .route(api::directory::CHECKPOINT_PATH, web::post().to(directory::shown))
        .route("/v1/directory/tile/{path:.*}", web::get().to(directory::tile))
        .route(
            api::key_packages::PATH,
            web::post().to(key_packages::upload::upload),
        )
        .route(
            api::key_packages::PATH,
            web::get().to(key_packages::upload::stock),
        )
        .route(
            api::key_packages::CLAIM_PATH,
            web::post().to(key_packages::claim::claim),
        )
        .route(api::groups::PATH, web::post().to(groups::create::create))
        .route("/v1/groups/{group}", web::get().to(groups::show::show))
        .route(
            "/v1/groups/{group}/commits",
            web::post().to(groups::commit::commit),
        )
        .route(
            "/v1/groups/{group}/proposals",
            web::post().to(groups::propose::propose),
        )
        .route(
            "/v1/groups/{group}/public-state",
            web::get().to(groups::rejoin::public_state),
        )
        .route(
            "/v1/groups/{group}/external-commit",
            web::post().to(groups::rejoin::external_commit),
        )
        .route(
            "/v1/groups/{group}/readmission",
            web::post().to(groups::rejoin::readmission),
        )
        .route(api::rejoin::PATH, web::post().to(rejoin::rejoin))
        .route("/v1/groups/{group}/stories", web::post().to(stories::post::post))
        .route(api::device_lists::PATH, web::post().to(device_lists::define))
        .route("/v1/device-lists/{list}", web::get().to(device_lists::show))
        .route(
            "/v1/device-lists/{list}/stories",
            web::post().to(stories::post::post_to_list),
        )
        .route("/v1/stories/{cti}", web::get().to(stories::show::show))
        .route(
            "/v1/stories/{cti}/revoke",
            web::post().to(stories::revoke::revoke),
        )
        .route("/v1/blobs/{digest}", web::put().to(blobs::put::put))
        .route("/v1/blobs/{digest}", web::get().to(blobs::get::get))
        .route(api::sync::PATH, web::post().to(sync::sync))
        .route(api::bundle::PATH, web::get().to(bundle::bundle))
        .route(api::bundle::ACK_PATH, web::post().to(bundle::ack::ack))
        .route(api::preflight::PATH, web::post().to(preflight::preflight))
        .route(api::events::PATH, web::post().to(events::upload))
        .route(api::unenroll::PATH, web::post().to(unenroll::unenroll));
}
