use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use prost::Message as _;
use tokio::net::UnixListener;

use super::messages::{
    ContainerMetadata, Linux, NamespaceOptions, Namespaces, Network, SandboxIp, SandboxMetadata,
    SandboxStatus,
};
use super::*;

fn sandbox(id: &str, name: &str, state: i32) -> Sandbox {
    Sandbox {
        id: id.into(),
        metadata: Some(SandboxMetadata {
            name: name.into(),
            uid: format!("uid-{name}"),
            namespace: "shop".into(),
        }),
        state,
        created_at: 1_795_392_005_000_000_000,
        labels: [("app", name), ("io.kubernetes.pod.name", name)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    }
}

fn answer(path: &str, asked: &[u8]) -> Option<Vec<u8>> {
    let method = path.strip_prefix("/runtime.v1.RuntimeService/")?;
    Some(match method {
        "ListPodSandbox" => Sandboxes {
            items: vec![
                sandbox("s1", "cart", 0),
                sandbox("s2", "old", 1),
                sandbox("s3", "agent", 0),
            ],
        }
        .encode_to_vec(),
        "ListContainers" => Containers {
            containers: [
                ("c1", "s1", "app"),
                ("c2", "s1", "envoy"),
                ("c3", "s2", "app"),
            ]
            .map(|(id, sandbox_id, name)| messages::RuntimeContainer {
                id: id.into(),
                sandbox_id: sandbox_id.into(),
                metadata: Some(ContainerMetadata { name: name.into() }),
            })
            .into(),
        }
        .encode_to_vec(),
        "PodSandboxStatus" => {
            let of = StatusOf::decode(asked).unwrap().sandbox_id;
            let network = Network {
                ip: "10.0.0.7".into(),
                additional: vec![SandboxIp {
                    ip: "fd00::7".into(),
                }],
            };
            let namespaces = Namespaces {
                options: Some(NamespaceOptions {
                    network: if of == "s3" { OF_NODE } else { 0 },
                }),
            };
            StatusIs {
                status: Some(SandboxStatus {
                    network: (of == "s1").then_some(network),
                    linux: Some(Linux {
                        namespaces: Some(namespaces),
                    }),
                }),
            }
            .encode_to_vec()
        }
        _ => return None,
    })
}

/// Answers as a container runtime does, over real HTTP/2.
async fn serve(listener: UnixListener, status: &'static str) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                tokio::spawn(async move {
                    let path = request.uri().path().to_owned();
                    let mut body = request.into_body();
                    let mut asked = BytesMut::new();
                    while let Some(data) = body.data().await {
                        asked.extend_from_slice(&data.unwrap());
                    }
                    let head = Response::builder().header("content-type", "application/grpc");
                    let answered = answer(&path, &asked[5..]).filter(|_| status == "0");
                    let Some(message) = answered else {
                        let head = head
                            .header("grpc-status", status)
                            .header("grpc-message", "no");
                        respond.send_response(head.body(()).unwrap(), true).unwrap();
                        return;
                    };
                    let mut stream = respond
                        .send_response(head.body(()).unwrap(), false)
                        .unwrap();
                    let mut framed = BytesMut::new();
                    framed.put_u8(0);
                    framed.put_u32(u32::try_from(message.len()).unwrap());
                    framed.extend_from_slice(&message);
                    stream.send_data(Bytes::from(framed), false).unwrap();
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from_static("0"));
                    stream.send_trailers(trailers).unwrap();
                });
            }
        });
    }
}

#[tokio::test]
async fn pods_that_run_come_with_containers_labels_and_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("runtime.sock");
    let server = tokio::spawn(serve(UnixListener::bind(&socket).unwrap(), "0"));
    let mut runtime = RuntimeClient::new(Some(socket.clone()), "n1");
    assert_eq!(runtime.socket().as_deref(), Some(socket.as_path()));
    let pods = runtime.pods(&socket, false).await.unwrap();
    assert!(pods.iter().all(|pod| pod.addresses.is_empty()));
    let pods = runtime.pods(&socket, true).await.unwrap();
    let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["cart", "agent"]);
    let cart = &pods[0];
    assert_eq!(
        (
            cart.uid.as_str(),
            cart.namespace.as_str(),
            cart.node.as_str()
        ),
        ("uid-cart", "shop", "n1")
    );
    assert_eq!(cart.labels, [("app".to_owned(), "cart".to_owned())].into());
    assert_eq!(
        cart.addresses,
        ["10.0.0.7", "fd00::7"].map(|ip| ip.parse::<IpAddr>().unwrap())
    );
    assert_eq!(cart.started, 1_795_392_005);
    let containers: Vec<(&str, &str)> = cart
        .containers
        .iter()
        .map(|container| (container.name.as_str(), container.id.as_str()))
        .collect();
    assert_eq!(containers, [("app", "c1"), ("envoy", "c2")]);
    assert!(!cart.host_network && pods[1].host_network);
    assert_eq!(runtime.networks.len(), 2);
    server.abort();
}

#[tokio::test]
async fn runtime_that_cannot_be_asked_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("runtime.sock");
    let mut runtime = RuntimeClient::new(Some(socket.clone()), "n1");
    let trouble = runtime.pods(&socket, false).await.unwrap_err();
    assert!(trouble.said.contains("runtime.sock"), "{trouble}");
    let server = tokio::spawn(serve(UnixListener::bind(&socket).unwrap(), "12"));
    let trouble = runtime.pods(&socket, false).await.unwrap_err();
    assert!(trouble.said.contains("CRI plugin disabled"), "{trouble}");
    server.abort();
}
