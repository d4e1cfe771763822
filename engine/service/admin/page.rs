//! The dashboard's files, which are part of the program. Invariant: they are public – what they show comes from the API, which asks for
//! a token – and name nothing outside of this listener.

use std::sync::Arc;

use axum::Router as Paths;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::App;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Path, content type, content.
pub(super) const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("page/page.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", JS, include_str!("page/page.js")),
    ("/api.js", JS, include_str!("page/api.js")),
    ("/estate.js", JS, include_str!("page/estate.js")),
    ("/views.js", JS, include_str!("page/views.js")),
    ("/icon.svg", SVG, include_str!("page/icon.svg")),
];

pub(super) fn paths() -> Paths<Arc<App>> {
    FILES.iter().fold(Paths::new(), |paths, &(path, content_type, text)| {
        paths.route(path, get(move || async move { file(content_type, text) }))
    })
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], text).into_response()
}
