//! RFC 9457 problems from the one table.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use gateway_api::error::Problem;

use crate::domain::fault::Fault;
use crate::limits;

/// A problem on its way out.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problem.title)]
pub(crate) struct ApiError {
    problem: Box<Problem>,
    /// How long to wait before the next try, seconds.
    retry_after_s: Option<u32>,
}

impl ApiError {
    /// The same request may be taken after this time.
    pub(crate) fn after(fault: Fault, retry_after_s: u32) -> Self {
        Self {
            retry_after_s: Some(retry_after_s),
            ..fault.into()
        }
    }
}

/// What handlers return.
pub(crate) type ApiResult<T = HttpResponse> = Result<T, ApiError>;

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self {
            retry_after_s: (problem.status == 503).then_some(limits::RETRY_AFTER_S),
            problem: Box::new(problem),
        }
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        Problem::new(fault.code, fault.detail).into()
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        Fault::from(error).into()
    }
}

impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        Fault::from(error).into()
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        if let Some(wait_s) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, wait_s));
        }
        response.body(serde_json::to_vec(&self.problem).unwrap_or_default())
    }
}
