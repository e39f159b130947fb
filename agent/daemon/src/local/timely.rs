//! Bodies in time (A8): a request whose body does not come is ended, so that half-sent ones do not pile up.

use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};

use super::server::Failure;
use super::wire::{LocalProblem, TamperCause};
use crate::agent::Agent;
use crate::exit::Exit;
use crate::limits::LOCAL_BODY_TIMEOUT;

/// What `T` extracts, if its body arrives in time.
pub(crate) struct Timely<T>(pub T);

impl<T: FromRequest> FromRequest for Timely<T>
where
    T::Future: 'static,
{
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Self::Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = T::from_request(request, payload);
        let agent = request.app_data::<Data<Agent>>().cloned();
        Box::pin(async move {
            if let Ok(extracted) = tokio::time::timeout(LOCAL_BODY_TIMEOUT, body).await {
                return extracted.map(Timely).map_err(Into::into);
            }
            if let Some(agent) = agent {
                agent.tampered(TamperCause::SlowBody);
            }
            let message = format!(
                "the request's body did not arrive within {} s",
                LOCAL_BODY_TIMEOUT.as_secs()
            );
            let problem = LocalProblem::new(Exit::Failed, message, "send it at once");
            Err(Failure::with_status(StatusCode::REQUEST_TIMEOUT, problem).into())
        })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::error::PayloadError;
    use actix_web::test::TestRequest;
    use actix_web::web::Bytes;

    use super::*;

    /// A8: the clock of the test moves by itself while nothing else can happen.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        let silence = futures_util::stream::pending::<Result<Bytes, PayloadError>>();
        let silence: Pin<Box<dyn futures_util::Stream<Item = _>>> = Box::pin(silence);
        let request = TestRequest::default().to_http_request();
        let late = Timely::<Bytes>::from_request(&request, &mut Payload::from(silence)).await;
        let refused = late.err().unwrap();
        assert_eq!(
            refused.as_response_error().status_code(),
            StatusCode::REQUEST_TIMEOUT
        );
    }
}
