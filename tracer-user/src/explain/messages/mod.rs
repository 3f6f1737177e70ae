//! The known messages: what applications, libraries and proxies print, what it proves, and what it
//! does not.
//!
//! They are data: a file for each emitter, built into the binary and parsed when they are first
//! asked for. In a text `<N>` stands for a number, `<X>` for one word, `...` for some words.

use std::sync::LazyLock;

use serde::Deserialize;

use h2trace_core::anomaly::kind::Kind;

/// The files, by name. Of messages that match equally well, the first one is shown first.
const FILES: &[(&str, &str)] = &[
    ("grpc_js", include_str!("grpc_js.toml")),
    ("node", include_str!("node.toml")),
    ("connect_es", include_str!("connect_es.toml")),
    ("connect_go", include_str!("connect_go.toml")),
    ("grpc_go", include_str!("grpc_go.toml")),
    ("grpc_go_setup", include_str!("grpc_go_setup.toml")),
    ("go_http2", include_str!("go_http2.toml")),
    ("grpc_java", include_str!("grpc_java.toml")),
    ("netty", include_str!("netty.toml")),
    ("armeria", include_str!("armeria.toml")),
    ("okhttp", include_str!("okhttp.toml")),
    ("java_other", include_str!("java_other.toml")),
    ("java_more", include_str!("java_more.toml")),
    ("tomcat", include_str!("tomcat.toml")),
    ("grpc_core", include_str!("grpc_core.toml")),
    ("h2", include_str!("h2.toml")),
    ("h2_logs", include_str!("h2_logs.toml")),
    ("tonic", include_str!("tonic.toml")),
    ("python", include_str!("python.toml")),
    ("dotnet", include_str!("dotnet.toml")),
    ("dart_swift", include_str!("dart_swift.toml")),
    ("php_ruby", include_str!("php_ruby.toml")),
    ("erlang", include_str!("erlang.toml")),
    ("functional", include_str!("functional.toml")),
    ("curl", include_str!("curl.toml")),
    ("nghttp2", include_str!("nghttp2.toml")),
    ("browsers", include_str!("browsers.toml")),
    ("envoy_details", include_str!("envoy_details.toml")),
    ("envoy_answers", include_str!("envoy_answers.toml")),
    ("envoy_stats", include_str!("envoy_stats.toml")),
    ("envoy_flags", include_str!("envoy_flags.toml")),
    ("nginx", include_str!("nginx.toml")),
    ("haproxy", include_str!("haproxy.toml")),
    ("linkerd", include_str!("linkerd.toml")),
    ("meshes", include_str!("meshes.toml")),
    ("clouds", include_str!("clouds.toml")),
    ("proxies", include_str!("proxies.toml")),
];

static ALL: LazyLock<Result<Vec<KnownMessage>, MessagesError>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for (name, text) in FILES {
        all.extend(parse(name, text)?);
    }
    Ok(all)
});

/// What is known of a message.
#[derive(Debug)]
pub struct KnownMessage {
    /// Who prints it.
    pub emitter: String,
    /// The text, in its variants. The first is the one to show.
    pub texts: Vec<String>,
    pub proves: String,
    /// What it does not prove.
    pub does_not_prove: String,
    /// The findings that it may come from, likeliest first.
    pub kinds: Vec<Kind>,
    /// Where the text was read: a project, with versions or an issue where they are known.
    pub source: String,
    /// It says that something failed, and the words behind it say what.
    pub is_wrapper: bool,
    /// Its texts are response flags of Envoy: capitals that stand as a word of their own.
    pub is_flag: bool,
}

/// A file of messages is malformed.
#[derive(Debug, thiserror::Error)]
pub enum MessagesError {
    /// It is no TOML of the agreed form.
    #[error("the messages of {file} are malformed: {source}")]
    Form {
        file: &'static str,
        source: toml::de::Error,
    },
    /// It names a finding that does not exist.
    #[error("the messages of {file} name {name:?}, which is no finding")]
    Finding { file: &'static str, name: String },
}

/// All of them.
///
/// # Errors
/// A file is malformed (a test holds that none is).
pub fn all() -> Result<&'static [KnownMessage], &'static MessagesError> {
    ALL.as_deref()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    emitter: String,
    source: String,
    #[serde(default)]
    response_flags: bool,
    message: Vec<Entry>,
}

/// One message of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Of this message, if the file has those of several.
    emitter: Option<String>,
    texts: Vec<String>,
    proves: String,
    does_not_prove: String,
    findings: Vec<String>,
    #[serde(default)]
    wrapper: bool,
    source: Option<String>,
}

/// The messages of a file.
pub(super) fn parse(file: &'static str, text: &str) -> Result<Vec<KnownMessage>, MessagesError> {
    let content: File =
        toml::from_str(text).map_err(|source| MessagesError::Form { file, source })?;
    let finding = |name: String| {
        Kind::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == name)
            .ok_or(MessagesError::Finding { file, name })
    };
    content
        .message
        .into_iter()
        .map(|entry| {
            Ok(KnownMessage {
                emitter: entry.emitter.unwrap_or_else(|| content.emitter.clone()),
                texts: entry.texts,
                proves: entry.proves,
                does_not_prove: entry.does_not_prove,
                kinds: entry
                    .findings
                    .into_iter()
                    .map(finding)
                    .collect::<Result<_, _>>()?,
                source: entry.source.unwrap_or_else(|| content.source.clone()),
                is_wrapper: entry.wrapper,
                is_flag: content.response_flags,
            })
        })
        .collect()
}
