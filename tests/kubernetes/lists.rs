//! What is told of pods, and when.

use std::time::Instant;

use h2trace_core::attribution::WorkloadHandle;
use tracer_tests::cluster::{ApiParts, User};
use tracer_tests::{eventually, require};

use crate::given::{
    NODE, SECOND, SOON, api, delete, manifest, name_at, set_over, set_running, source,
    wait_until_connected,
};

#[test]
fn pods_of_this_node_are_named_within_a_second_while_they_come_and_go() {
    require!(ApiParts);
    let api = api();
    api.apply(&[manifest("early", NODE), manifest("elsewhere", "n2")].concat());
    set_running(&api, "early", "10.0.0.1");
    let source = source(&api, User::Admin);
    wait_until_connected(&source);
    assert_eq!(source.pods.all().len(), 1);
    assert_eq!(name_at(&source, "10.0.0.1").as_deref(), Some("early"));

    // A connection that was opened before the API server told of its container.
    let uid = |name: &str| {
        let path = "--output=jsonpath={.metadata.uid}";
        api.kubectl(&["get", "pod", name, "--namespace=shop", path])
    };
    api.apply(&manifest("late", NODE));
    let handle = WorkloadHandle::to_pod(&uid("late"), "late-app");
    source.waiting.container(&handle, &source.pods);
    assert!(eventually(SECOND, || handle.workload().is_some()));
    assert_eq!(handle.workload().unwrap().pod, "late");
    set_running(&api, "late", "10.0.0.2");
    let told = Instant::now();
    let named = || {
        handle
            .workload()
            .is_some_and(|workload| workload.container == "app")
    };
    assert!(eventually(SECOND, named), "{:?}", handle.workload());
    println!(
        "    named {} ms after kubectl had returned",
        told.elapsed().as_millis()
    );
    let workload = handle.workload().unwrap();
    assert_eq!(
        (workload.namespace.as_str(), workload.node.as_str()),
        ("shop", NODE)
    );
    assert_eq!(
        (workload.owner.kind.as_str(), workload.owner.name.as_str()),
        ("Deployment", "late")
    );
    assert_eq!(name_at(&source, "10.0.0.2").as_deref(), Some("late"));

    // Its containers have ended: the address is free, and its next pod gets it.
    set_over(&api, "late");
    assert!(eventually(SECOND, || name_at(&source, "10.0.0.2").is_none()));
    api.apply(&manifest("next", NODE));
    set_running(&api, "next", "10.0.0.2");
    assert!(eventually(SECOND, || name_at(&source, "10.0.0.2")
        .as_deref()
        == Some("next")));

    // Deleted: found by uid and container for what it did last, not by its address.
    let uid_of_early = uid("early");
    delete(&api, "early");
    assert!(eventually(SECOND, || !source.pods.lives(&uid_of_early)));
    assert!(name_at(&source, "10.0.0.1").is_none());
    assert_eq!(source.pods.by_container("early-app").unwrap().name, "early");
    assert!(source.pods.all().iter().all(|pod| pod.name != "elsewhere"));
}

#[test]
fn two_hundred_pods_that_come_and_go_leave_nothing_behind_and_no_wrong_name() {
    require!(ApiParts);
    let api = api();
    let source = source(&api, User::Admin);
    wait_until_connected(&source);
    for round in 0..4 {
        let names: Vec<String> = (0..50).map(|n| format!("r{round}-{n}")).collect();
        let all: String = names.iter().map(|name| manifest(name, NODE)).collect();
        api.apply(&all);
        assert!(
            eventually(SOON, || source.pods.len() == 50),
            "{}",
            source.pods.len()
        );
        // Every round's pods have the same few addresses.
        for (n, name) in names.iter().enumerate().take(5) {
            let address = format!("10.0.0.{}", n + 1);
            set_running(&api, name, &address);
            let named = || name_at(&source, &address).as_deref() == Some(name.as_str());
            assert!(
                eventually(SECOND, named),
                "{:?}",
                name_at(&source, &address)
            );
        }
        let mut arguments = vec![
            "delete",
            "pod",
            "--namespace=shop",
            "--grace-period=0",
            "--force",
        ];
        arguments.push("--all");
        api.kubectl(&arguments);
        assert!(
            eventually(SOON, || source.pods.is_empty()),
            "{}",
            source.pods.len()
        );
        assert!(name_at(&source, "10.0.0.1").is_none());
    }
    assert_eq!(source.pods.beyond_limit(), 0);
}
