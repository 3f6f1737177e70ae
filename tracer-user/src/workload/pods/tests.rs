use super::super::pod::Container;
use super::*;

fn pod(uid: &str, name: &str, container: &str, address: &str) -> Pod {
    Pod {
        uid: uid.into(),
        name: name.into(),
        containers: vec![Container {
            name: "app".into(),
            id: container.into(),
        }],
        addresses: vec![address.parse().unwrap()],
        ..Pod::default()
    }
}

fn name_at(pods: &Pods, address: &str) -> Option<String> {
    Some(pods.by_address(address.parse().unwrap())?.name.clone())
}

#[test]
fn pod_is_found_by_uid_container_and_address_until_it_goes() {
    let pods = Pods::default();
    pods.put(pod("u1", "cart-1", "c1", "10.0.0.1"));
    assert_eq!(pods.by_uid("u1").unwrap().name, "cart-1");
    assert_eq!(pods.by_container("c1").unwrap().name, "cart-1");
    assert_eq!(name_at(&pods, "10.0.0.1").as_deref(), Some("cart-1"));
    let version = pods.version();
    pods.remove("u1");
    assert!(pods.version() > version);
    assert!(pods.all().is_empty() && pods.is_empty());
    assert_eq!(name_at(&pods, "10.0.0.1"), None);
    assert!(pods.was_given_back("10.0.0.1".parse().unwrap()));
    assert!(!pods.was_given_back("10.0.0.2".parse().unwrap()));
}

#[test]
fn pod_that_has_gone_is_found_for_a_while_but_not_by_its_address() {
    let pods = Pods::default();
    pods.put(pod("u1", "cart-1", "c1", "10.0.0.1"));
    pods.put(pod("u2", "cart-2", "c2", "10.0.0.2"));
    pods.remove("u1");
    pods.replace([]);
    for (uid, container) in [("u1", "c1"), ("u2", "c2")] {
        assert!(pods.by_uid(uid).is_some() && pods.by_container(container).is_some());
    }
    assert!(pods.by_container("").is_none());
    assert_eq!(name_at(&pods, "10.0.0.1"), None);
    let mut known = pods.write();
    let Some(long_ago) = Instant::now().checked_sub(LINGER * 2) else {
        return;
    };
    known.gone.iter_mut().for_each(|(at, _)| *at = long_ago);
    drop(known);
    assert!(pods.by_uid("u1").is_none() && pods.by_container("c1").is_none());
    pods.put(pod("u3", "cart-3", "c3", "10.0.0.3"));
    pods.remove("u3");
    assert_eq!(pods.read().gone.len(), 1);
}

#[test]
fn pods_that_have_gone_are_bounded() {
    let pods = Pods::default();
    for n in 0..limits::PODS_GONE + 10 {
        let uid = n.to_string();
        pods.put(pod(&uid, &uid, &uid, "10.0.0.1"));
        pods.remove(&uid);
    }
    assert_eq!(pods.read().gone.len(), limits::PODS_GONE);
    assert!(pods.by_uid("0").is_none());
}

#[test]
fn pods_beyond_the_limit_are_counted_and_the_others_stay() {
    let pods = Pods::default();
    for n in 0..limits::PODS + 3 {
        let uid = n.to_string();
        pods.put(pod(&uid, &uid, &uid, "10.0.0.1"));
    }
    assert_eq!((pods.len(), pods.beyond_limit()), (limits::PODS, 3));
    // One that is known is changed all the same.
    pods.put(pod("5", "other", "5", "10.0.0.1"));
    assert_eq!(pods.by_uid("5").unwrap().name, "other");
    assert_eq!(pods.beyond_limit(), 3);
}

#[test]
fn pods_that_have_ended_keep_no_room_from_those_that_run() {
    let pods = Pods::default();
    let ended = |n: usize| Pod {
        is_over: true,
        ..pod(&format!("e{n}"), "job", &format!("e{n}"), "10.0.0.1")
    };
    pods.replace(
        (0..limits::PODS + 1)
            .map(ended)
            .chain([pod("u1", "cart", "c1", "10.0.0.2")]),
    );
    assert!(pods.lives("u1") && pods.len() == limits::PODS);
    pods.put(pod("u2", "shop", "c2", "10.0.0.3"));
    assert!(pods.lives("u1") && pods.lives("u2") && pods.len() == limits::PODS);
    pods.put(ended(limits::PODS + 7));
    assert!(pods.lives("u2") && !pods.lives(&format!("e{}", limits::PODS + 7)));
}

#[test]
fn nobody_takes_the_uid_of_another() {
    let victim = || pod("u1", "ledger", "c1", "10.0.0.1");
    // As the API server may let anybody have it made.
    let stranger = |object: &str, uid: &str| Pod {
        mirror: Some(object.into()),
        ..pod(uid, "stranger", "c9", "10.0.0.9")
    };
    let name = |pods: &Pods, uid: &str| pods.by_uid(uid).map(|pod| pod.name.clone());
    let all = [
        |pods: &Pods, victim: Pod, stranger: Pod| pods.replace([stranger, victim]),
        |pods: &Pods, victim: Pod, stranger: Pod| {
            pods.put(victim);
            pods.put(stranger);
        },
        |pods: &Pods, victim: Pod, stranger: Pod| {
            pods.put(stranger);
            pods.put(victim);
        },
    ];
    for order in all {
        let pods = Pods::default();
        order(&pods, victim(), stranger("s1", "u1"));
        assert_eq!(name(&pods, "u1").as_deref(), Some("ledger"));
        assert_eq!(name(&pods, "s1").as_deref(), Some("stranger"));
        // What is said of it later, and that it goes, is said of it alone.
        pods.put(stranger("s1", "u1"));
        pods.remove("s1");
        assert!(pods.lives("u1") && !pods.lives("s1"));
        pods.put(victim());
        assert_eq!(
            (pods.len(), name(&pods, "u1").as_deref()),
            (1, Some("ledger"))
        );
    }
    // Static pods: the kubelet's word was there first, and only its object takes it back.
    let pods = Pods::default();
    pods.put(Pod {
        name: "apiserver".into(),
        ..stranger("m1", "static")
    });
    pods.put(stranger("s1", "static"));
    assert_eq!(name(&pods, "static").as_deref(), Some("apiserver"));
    pods.remove("s1");
    assert!(pods.lives("static"));
    pods.put(Pod {
        name: "apiserver".into(),
        ..stranger("m1", "static")
    });
    pods.remove("m1");
    assert!(pods.is_empty());
}

#[test]
fn address_that_was_given_away_names_its_new_pod_when_the_old_one_goes() {
    let pods = Pods::default();
    pods.put(pod("u1", "old", "c1", "10.0.0.1"));
    pods.put(pod("u2", "new", "c2", "10.0.0.1"));
    // A late word of the old one does not take it back.
    pods.put(pod("u1", "old", "c1", "10.0.0.1"));
    assert_eq!(name_at(&pods, "10.0.0.1").as_deref(), Some("new"));
    pods.remove("u1");
    assert_eq!(name_at(&pods, "10.0.0.1").as_deref(), Some("new"));
}

#[test]
fn of_two_pods_with_one_address_the_one_that_started_later_has_it() {
    let started = |started, pod| Pod { started, ..pod };
    let old = || started(1, pod("u1", "old", "c1", "10.0.0.1"));
    let new = || started(2, pod("u2", "new", "c2", "10.0.0.1"));
    for order in [[old(), new()], [new(), old()]] {
        let pods = Pods::default();
        pods.replace(order);
        assert_eq!(name_at(&pods, "10.0.0.1").as_deref(), Some("new"));
        pods.remove("u2");
        assert_eq!(name_at(&pods, "10.0.0.1").as_deref(), Some("old"));
    }
}

#[test]
fn address_of_the_host_names_no_pod() {
    let pods = Pods::default();
    pods.put(Pod {
        host_network: true,
        ..pod("u1", "agent", "c1", "10.0.0.1")
    });
    assert_eq!(name_at(&pods, "10.0.0.1"), None);
}

#[test]
fn list_makes_the_directory_complete_and_forgets_what_is_not_in_it() {
    let pods = Pods::default();
    pods.put(pod("u1", "a", "c1", "10.0.0.1"));
    assert!(!pods.is_complete());
    pods.replace([pod("u2", "b", "c2", "10.0.0.2")]);
    assert!(pods.is_complete());
    assert_eq!(pods.all().len(), 1);
    assert_eq!(pods.all()[0].uid, "u2");
}

#[test]
fn container_that_only_the_runtime_knows_is_learnt_and_kept() {
    let pods = Pods::default();
    // The API server knows the pod, not yet that its container runs.
    pods.put(pod("u1", "cart", "", "10.0.0.1"));
    let of_runtime = || Pod {
        namespace: "wrong".into(),
        ..pod("u1", "other name", "c1", "10.0.0.9")
    };
    pods.learn(of_runtime());
    let known = pods.by_container("c1").unwrap();
    assert_eq!(
        (known.name.as_str(), known.namespace.as_str()),
        ("cart", "")
    );
    let version = pods.version();
    pods.learn(of_runtime());
    assert_eq!(pods.version(), version);
    // A word of the API server that is older than that.
    pods.put(pod("u1", "cart", "", "10.0.0.1"));
    assert!(pods.by_container("c1").is_some());
    pods.replace([pod("u1", "cart", "", "10.0.0.1")]);
    assert!(pods.by_container("c1").is_some());
    // It was started anew.
    pods.put(pod("u1", "cart", "c2", "10.0.0.1"));
    assert!(pods.by_container("c2").is_some() && pods.by_container("c1").is_none());
    // What it told itself it may take back.
    pods.put(pod("u1", "cart", "", "10.0.0.1"));
    assert!(pods.by_container("c2").is_none());
    assert!(pods.read().learnt.is_empty());
    pods.learn(pod("u9", "alone", "c9", "10.0.0.9"));
    assert_eq!(pods.by_container("c9").unwrap().name, "alone");
    assert!(pods.lives("u9"));
    // Taken for gone, and there again: what was known of it still counts.
    pods.remove("u1");
    assert!(!pods.lives("u1"));
    pods.learn(pod("u1", "other name", "c3", "10.0.0.1"));
    assert!(pods.lives("u1"));
    assert_eq!(pods.by_container("c3").unwrap().name, "cart");
}

#[test]
fn addresses_name_nobody_while_nobody_tells_of_changes() {
    let pods = Pods::default();
    pods.put(pod("u1", "cart", "c1", "10.0.0.1"));
    let version = pods.version();
    pods.set_stale(true);
    assert!(pods.version() > version);
    assert_eq!(name_at(&pods, "10.0.0.1"), None);
    assert!(pods.by_uid("u1").is_some() && pods.by_container("c1").is_some());
    pods.set_stale(false);
    assert_eq!(name_at(&pods, "10.0.0.1").as_deref(), Some("cart"));
}
