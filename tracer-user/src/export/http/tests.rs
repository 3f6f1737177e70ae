use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use h2trace_core::limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::export::prometheus::Exporter;

fn asked(address: SocketAddr, head: &str, fields: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: h2trace\r\nConnection: close\r\n{fields}\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn ask(address: SocketAddr, head: &str) -> String {
    String::from_utf8(asked(address, head, "").unwrap()).unwrap()
}

fn whole(heartbeat: &Arc<Heartbeat>) -> Site {
    Site::whole(Exporter::new().unwrap().scrape(), Arc::clone(heartbeat))
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future);
}

fn with_site(
    site: impl FnOnce(&Arc<Heartbeat>) -> Site,
    test: impl FnOnce(SocketAddr, &Heartbeat) + Send + 'static,
) {
    let listener = bind("127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
    let address = listener.local_addr().unwrap();
    let heartbeat = Arc::new(Heartbeat::new());
    let site = site(&heartbeat);
    block_on(async {
        let server = tokio::spawn(site.serve(listener));
        tokio::task::spawn_blocking(move || test(address, &heartbeat))
            .await
            .unwrap();
        server.abort();
    });
}

fn with_server(test: impl FnOnce(SocketAddr, &Heartbeat) + Send + 'static) {
    with_site(whole, test);
}

#[test]
fn metrics_are_served_and_other_paths_and_methods_are_refused() {
    with_server(|address, _| {
        let metrics = ask(address, "GET /metrics");
        assert!(metrics.starts_with("HTTP/1.1 200 OK"), "{metrics}");
        assert!(
            metrics.contains("content-type: text/plain; version=0.0.4"),
            "{metrics}"
        );
        assert!(
            metrics.contains("\nh2trace_self_events_lost_total{cause=\"ring_full\"} 0\n"),
            "{metrics}"
        );
        let head = ask(address, "HEAD /metrics");
        assert!(
            head.starts_with("HTTP/1.1 200 OK") && !head.contains("h2trace_"),
            "{head}"
        );
        assert!(ask(address, "GET /").starts_with("HTTP/1.1 404"));
        let posted = ask(address, "POST /metrics");
        assert!(
            posted.starts_with("HTTP/1.1 405") && posted.contains("allow: GET, HEAD"),
            "{posted}"
        );
    });
}

#[test]
fn ready_only_while_programs_are_attached() {
    with_server(|address, heartbeat| {
        assert!(ask(address, "GET /healthz").starts_with("HTTP/1.1 200"));
        assert!(ask(address, "GET /readyz").starts_with("HTTP/1.1 503"));
        heartbeat.set_attached(true);
        heartbeat.beat();
        assert!(ask(address, "GET /readyz").starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn port_in_use_is_said_with_the_remedy() {
    let taken = bind("127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
    let error = bind(taken.local_addr().unwrap(), "--health-listen")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the port is in use") && error.contains("--health-listen"),
        "{error}"
    );
}

#[test]
fn probes_alone_are_served_where_no_metrics_are() {
    let probes = |heartbeat: &Arc<Heartbeat>| {
        Site::probes(Exporter::new().unwrap().scrape(), Arc::clone(heartbeat))
    };
    with_site(probes, |address, _| {
        assert!(ask(address, "GET /healthz").starts_with("HTTP/1.1 200"));
        assert!(ask(address, "GET /readyz").starts_with("HTTP/1.1 503"));
        let metrics = ask(address, "GET /metrics");
        assert!(metrics.starts_with("HTTP/1.1 404") && !metrics.contains("h2trace_"));
    });
}

#[test]
fn probe_is_answered_while_others_hold_more_than_all_places() {
    with_server(|address, _| {
        let hold = || {
            let mut slow = TcpStream::connect(address).unwrap();
            slow.write_all(b"G").unwrap();
            slow
        };
        const BEYOND: usize = 50;
        let slow: Vec<TcpStream> = (0..limits::HTTP_CONNECTIONS + BEYOND)
            .map(|_| hold())
            .collect();
        let began = Instant::now();
        assert!(ask(address, "GET /healthz").starts_with("HTTP/1.1 200"));
        // Before any of them has used up its time.
        assert!(began.elapsed() < HEAD_TIMEOUT / 2, "{:?}", began.elapsed());
        let hits = "h2trace_self_limit_hits_total{limit=\"http_connections\"} 5";
        let metrics = ask(address, "GET /metrics");
        assert!(metrics.contains(hits), "{metrics}");
        // Those who waited longest gave way: else a bound was only counted.
        for (n, mut held) in slow.iter().take(BEYOND).enumerate() {
            held.set_read_timeout(Some(Duration::from_millis(500)))
                .unwrap();
            let read = held.read(&mut [0]);
            let is_waiting = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
            assert!(
                !read.is_err_and(|error| is_waiting(&error)),
                "the {n}th kept its place"
            );
        }
        assert!(began.elapsed() < HEAD_TIMEOUT, "{:?}", began.elapsed());
    });
}

#[test]
fn page_is_packed_for_those_who_take_it_so() {
    with_server(|address, _| {
        let page = |accept: &str| {
            let answer = asked(address, "GET /metrics", accept).unwrap();
            let at = answer.windows(4).position(|four| four == b"\r\n\r\n");
            let (head, body) = answer.split_at(at.unwrap() + 4);
            (String::from_utf8(head.to_vec()).unwrap(), body.to_vec())
        };
        let (head, body) = page("Accept-Encoding: deflate, GZIP;q=0.8\r\n");
        assert!(head.contains("content-encoding: gzip"), "{head}");
        let mut text = String::new();
        flate2::read::GzDecoder::new(body.as_slice())
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.contains("h2trace_self_build_info") && body.len() < text.len() / 2);
        for accept in ["", "Accept-Encoding: gzip;q=0, br\r\n"] {
            let (head, body) = page(accept);
            assert!(!head.contains("content-encoding"), "{head}");
            assert!(
                String::from_utf8(body)
                    .unwrap()
                    .contains("h2trace_self_build_info")
            );
        }
    });
}

#[test]
fn page_is_shared_and_slow_readers_do_not_keep_others_from_theirs() {
    let site = whole(&Arc::new(Heartbeat::new()));
    let pages = site.pages.clone().unwrap();
    block_on(async {
        let take = |last: u8| site.places.take([10, 0, 0, last].into()).0;
        let (one, two) = (take(1), take(2));
        let (of_one, of_two) = tokio::join!(
            pages.page(false, Arc::clone(&one.progress)),
            pages.page(false, Arc::clone(&two.progress)),
        );
        let (of_one, of_two) = (of_one.unwrap(), of_two.unwrap());
        assert_eq!(of_one.as_ptr(), of_two.as_ptr());
        drop(of_two);
        let mut others = Vec::new();
        while others.len() < limits::PAGES {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let place = take(3);
            let page = pages
                .page(false, Arc::clone(&place.progress))
                .await
                .unwrap();
            let is_new = others
                .last()
                .is_none_or(|(_, last): &(ServedConnection, Bytes)| last.as_ptr() != page.as_ptr());
            if is_new && page.as_ptr() != of_one.as_ptr() {
                others.push((place, page));
            }
        }
        // Who has read it is not cut, nor who reads a newer one.
        let cut = async |place: &ServedConnection| {
            let cut = place.cut.notified();
            tokio::time::timeout(Duration::ZERO, cut).await.is_ok()
        };
        assert!(cut(&one).await && !cut(&two).await && !cut(&others[0].0).await);
        let text = String::from_utf8(others[limits::PAGES - 1].1.to_vec()).unwrap();
        let hits = "h2trace_self_limit_hits_total{limit=\"pages\"} 1";
        assert!(text.contains(hits), "{text}");
    });
}

#[test]
fn client_that_does_not_read_is_cut() {
    let site = whole(&Arc::new(Heartbeat::new()));
    block_on(async {
        let (mut client, server) = tokio::io::duplex(256);
        let (place, _) = site.places.take([10, 0, 0, 1].into());
        let served = tokio::spawn(site.serve_connection(server, place));
        client
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: h2trace\r\n\r\n")
            .await
            .unwrap();
        let bound = STALL_TIMEOUT + Duration::from_secs(3);
        tokio::time::timeout(bound, served).await.unwrap().unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len(), 256);
    });
}

fn guarded(folder: &std::path::Path, web_config: &str) -> Arc<Guard> {
    let path = folder.join("web.yaml");
    std::fs::write(&path, web_config).unwrap();
    Arc::new(Guard::new(Some(&path), None).unwrap().unwrap())
}

#[test]
fn only_who_knows_the_password_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let hash = bcrypt::hash("secret", 4).unwrap();
    let guard = guarded(
        folder.path(),
        &format!("basic_auth_users:\n  prometheus: {hash:?}\n"),
    );
    assert!(!guard.has_tls());
    let basic = |credentials: &str| {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
        format!("Authorization: Basic {encoded}\r\n")
    };
    with_site(
        |heartbeat| whole(heartbeat).guarded(Some(guard)),
        move |address, heartbeat| {
            heartbeat.set_attached(true);
            heartbeat.beat();
            for path in ["/metrics", "/healthz"] {
                for (fields, status) in [
                    (String::new(), 401),
                    (basic("prometheus:wrong"), 401),
                    (basic("nobody:secret"), 401),
                    (basic("prometheus"), 401),
                    (basic("prometheus:secret"), 200),
                    // What is remembered is the password, and not only the user.
                    (basic("prometheus:wrong"), 401),
                    (basic("prometheus:secret"), 200),
                ] {
                    let answer = asked(address, &format!("GET {path}"), &fields).unwrap();
                    let answer = String::from_utf8(answer).unwrap();
                    let head = format!("HTTP/1.1 {status} ");
                    assert!(answer.starts_with(&head), "{fields}: {answer}");
                    assert_eq!(answer.contains("www-authenticate: Basic"), status == 401);
                }
            }
        },
    );
}

#[test]
fn a_page_comes_by_tls_alone_where_there_is_a_certificate() {
    use tokio_rustls::rustls::ClientConfig;
    use tokio_rustls::rustls::pki_types::ServerName;

    use crate::certificate;

    let folder = tempfile::tempdir().unwrap();
    let roots = certificate::made_in(folder.path());
    let guard = guarded(
        folder.path(),
        "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n  min_version: TLS13\n",
    );
    assert!(guard.has_tls());
    let config = ClientConfig::builder_with_provider(certificate::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    with_site(
        |heartbeat| whole(heartbeat).guarded(Some(guard)),
        move |address, _| {
            let plain = asked(address, "GET /metrics", "");
            assert!(plain.is_err() || !plain.unwrap().starts_with(b"HTTP/1.1 200"));
            let client = tokio_rustls::TlsConnector::from(Arc::new(config));
            block_on(async {
                let stream = tokio::net::TcpStream::connect(address).await.unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                let mut stream = client.connect(name, stream).await.unwrap();
                let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
                stream.write_all(request).await.unwrap();
                let mut page = String::new();
                let _end = stream.read_to_string(&mut page).await;
                assert!(page.starts_with("HTTP/1.1 200"), "{page}");
                assert!(page.contains("h2trace_"), "{page}");
            });
        },
    );
}
