//! An API server that goes away, comes back, or hangs.

use std::time::{Duration, Instant};

use h2trace::workload::kubernetes::state::{PodNameSource, Reach, Reason};
use h2trace_core::attribution::WorkloadHandle;
use tracer_tests::cluster::{ApiParts, User};
use tracer_tests::{eventually, require};

use crate::given::{
    NODE, SOON, api, delete, manifest, name_at, set_running, source, wait_until_connected,
};

/// Addresses are not believed any more when nobody has told of changes for so long.
const STALE: Duration = Duration::from_secs(10);

#[test]
fn names_stay_while_the_api_server_is_gone_and_are_right_again_when_it_is_back() {
    require!(ApiParts);
    let mut api = api();
    api.apply(&[manifest("stays", NODE), manifest("goes", NODE)].concat());
    set_running(&api, "stays", "10.0.0.1");
    set_running(&api, "goes", "10.0.0.2");
    let source = source(&api, User::Admin);
    wait_until_connected(&source);

    api.stop_server();
    assert!(eventually(SOON, || matches!(
        source.state.api(),
        Reach::Lost { .. }
    )));
    let Reach::Lost { why, .. } = source.state.api() else {
        panic!("{:?}", source.state.api());
    };
    assert_eq!(why.reason, Reason::Unreachable, "{why}");
    assert_eq!(source.state.active_source(), PodNameSource::None);
    // Containers are named from what is known.
    let handle = WorkloadHandle::to_pod("", "stays-envoy");
    assert!(source.waiting.container(&handle, &source.pods));
    assert_eq!(handle.workload().unwrap().container, "envoy");
    // Not so addresses, after a while: they may have been given to others.
    assert!(eventually(STALE * 3, || name_at(&source, "10.0.0.1").is_none()));

    api.start_again();
    wait_until_connected(&source);
    assert!(eventually(SOON, || name_at(&source, "10.0.0.1").as_deref()
        == Some("stays")));
    // The watch goes on.
    delete(&api, "goes");
    api.apply(&manifest("new", NODE));
    set_running(&api, "new", "10.0.0.2");
    assert!(eventually(SOON, || name_at(&source, "10.0.0.2").as_deref()
        == Some("new")));
    assert_eq!(source.pods.len(), 2);
}

#[test]
fn api_server_that_hangs_is_noticed() {
    require!(ApiParts);
    let mut api = api();
    let source = source(&api, User::Admin);
    wait_until_connected(&source);
    let mut signal = |signal| api.server().unwrap().signal(signal);
    signal(libc::SIGSTOP);
    let since = Instant::now();
    let noticed = eventually(Duration::from_secs(90), || !source.state.api().connected());
    signal(libc::SIGCONT);
    assert!(noticed, "{:?}", source.state.api());
    println!("    noticed after {} s", since.elapsed().as_secs());
    wait_until_connected(&source);
}
