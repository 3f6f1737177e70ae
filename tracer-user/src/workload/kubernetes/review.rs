//! Who holds a bearer token, and what he may read: the API server says both (TokenReview and SubjectAccessReview).

use std::time::Duration;

use anyhow::Context as _;
use h2trace_core::limits;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::access::{Access, causes, refused, trouble, unreachable};
use super::asking::access_of;
use super::state::{Reason, Trouble};
use super::{Review, Settings};
use crate::confine::Needs;

/// How long both answers may take together: less than a scraper waits for its page.
const ANSWER: Duration = Duration::from_secs(5);

/// The rule that a role needs.
const RULE: &str = "a ClusterRole with the rules: apiGroups [authentication.k8s.io], resources [tokenreviews], verbs \
     [create], and apiGroups [authorization.k8s.io], resources [subjectaccessreviews], verbs [create]";

/// Asks the API server about those who ask here.
#[derive(Debug)]
pub struct Reviewer {
    access: Access,
    client: Mutex<Option<Connection>>,
}

struct Connection(Client);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reviewed<T> {
    status: T,
}

/// Of a TokenReview.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Holder {
    authenticated: bool,
    user: User,
}

/// What a SubjectAccessReview wants to know of him.
#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    uid: String,
    groups: Vec<String>,
    extra: Value,
}

/// Of a SubjectAccessReview.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Permission {
    allowed: bool,
}

impl Reviewer {
    /// Asks where pods would be asked for.
    ///
    /// # Errors
    /// Nothing says where the API server is.
    pub fn new(settings: &Settings) -> anyhow::Result<Reviewer> {
        let access = access_of(settings)?.context(
            "nothing says where the API server is that knows bearer tokens (run h2trace in a pod, or give \
             --kubeconfig PATH)",
        )?;
        Ok(Reviewer {
            access,
            client: Mutex::default(),
        })
    }

    /// What asking takes besides the network.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.access.needs()
    }

    /// Whether who holds `token` may get `path`.
    ///
    /// # Errors
    /// The API server does not answer, or not so.
    pub async fn review(&self, token: &str, path: &str) -> Result<Review, Trouble> {
        let asked = timeout(ANSWER, async {
            let client = self.client().await?;
            review(&client, token, path).await
        });
        let said = asked
            .await
            .unwrap_or_else(|_| Err(unreachable("no answer in time")));
        if said.is_err() {
            // The next one reads the credentials anew.
            *self.client.lock().await = None;
        }
        said
    }

    async fn client(&self) -> Result<Client, Trouble> {
        let mut kept = self.client.lock().await;
        if let Some(Connection(client)) = &*kept {
            return Ok(client.clone());
        }
        let client = self.access.client().await?;
        *kept = Some(Connection(client.clone()));
        Ok(client)
    }
}

async fn review(client: &Client, token: &str, path: &str) -> Result<Review, Trouble> {
    let asked = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": token },
    });
    let reviewed: Reviewed<Holder> = ask(
        client,
        "/apis/authentication.k8s.io/v1/tokenreviews",
        &asked,
    )
    .await?;
    if !reviewed.status.authenticated {
        return Ok(Review::Unknown);
    }
    let user = reviewed.status.user;
    let asked = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": user.username, "uid": user.uid, "groups": user.groups, "extra": user.extra,
            "nonResourceAttributes": { "path": path, "verb": "get" },
        },
    });
    let reviewed: Reviewed<Permission> = ask(
        client,
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        &asked,
    )
    .await?;
    Ok(if reviewed.status.allowed {
        Review::Allowed
    } else {
        Review::Forbidden
    })
}

/// What the API server makes of an object. Neither is ever shown: there are tokens in both.
async fn ask<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    object: &Value,
) -> Result<T, Trouble> {
    let other = |said: String| Trouble {
        reason: Reason::Other,
        said,
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Body::from(object.to_string().into_bytes()))
        .map_err(|error| other(format!("no request can be made: {error}")))?;
    let response = client
        .send(request)
        .await
        .map_err(|error| trouble(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), limits::REVIEW_BYTES)
        .collect()
        .await
        .map_err(|error| unreachable(&causes(error.as_ref())))?
        .to_bytes();
    if !status.is_success() {
        let told: kube::core::Status = serde_json::from_slice(&body).unwrap_or_default();
        return Err(refused(status.as_u16(), &told.message, RULE));
    }
    serde_json::from_slice(&body)
        .map_err(|_| other("the API server's review of a token cannot be read".to_owned()))
}
