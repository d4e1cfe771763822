//! Errors of the admin API. Invariant: every answer with a status of 400 or more is a [`Problem`] as JSON, and says what to do
//! where there is something to do.

use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::answers::Problem;
use super::audit::Said;

/// A request that cannot be answered.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    problem: Box<Problem>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        let hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        Self { status, problem: Box::new(Problem { error: error.into(), hint }) }
    }

    pub(super) fn bad_request(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, hint)
    }

    pub(super) fn not_found(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, hint)
    }

    pub(super) fn forbidden(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, error, hint)
    }

    /// No token, or none that is known.
    pub(super) fn unauthorized(error: impl Into<String>) -> Self {
        let hint = "send Authorization: Bearer with a token of admin.tokens_file; `turnout token` makes one";
        Self::new(StatusCode::UNAUTHORIZED, error, hint)
    }

    pub(super) fn unavailable(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, hint)
    }

    /// The router was asked and said no.
    pub(super) fn refused(error: String) -> Self {
        Self::new(StatusCode::CONFLICT, error, "nothing was changed")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let said = Said(self.problem.error.clone());
        (self.status, Extension(said), Json(self.problem)).into_response()
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text(), "see docs/operating.md for the parameters")
    }
}

impl From<BytesRejection> for Failure {
    fn from(rejection: BytesRejection) -> Self {
        let hint = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "move fewer users at a time",
            _ => "send the whole body",
        };
        Self::new(rejection.status(), rejection.body_text(), hint)
    }
}

pub(super) async fn no_such_path(uri: Uri) -> Failure {
    Failure::not_found(format!("there is nothing at {}", uri.path()), "see docs/operating.md for the paths")
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Failure {
    let error = format!("{method} is not possible at {}", uri.path());
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, error, "GET reads, POST, PUT and DELETE change")
}
