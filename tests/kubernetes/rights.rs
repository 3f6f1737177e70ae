//! What is said when a right is missing, and that it is taken up when it comes.

use h2trace::workload::kubernetes::state::{Reach, Reason};
use tracer_tests::cluster::{ApiParts, User};
use tracer_tests::{eventually, require};

use crate::given::{SOON, api, source, wait_until_connected};

#[test]
fn role_that_is_missing_is_named_and_taken_up_when_it_is_there() {
    require!(ApiParts);
    let api = api();
    let source = source(&api, User::Nobody);
    assert!(eventually(SOON, || matches!(
        source.state.api(),
        Reach::Lost { .. }
    )));
    let Reach::Lost { why, .. } = source.state.api() else {
        panic!("{:?}", source.state.api());
    };
    assert_eq!(why.reason, Reason::Forbidden);
    for word in ["403", "nobody", "ClusterRole", "get, list, watch", "pods"] {
        assert!(why.said.contains(word), "{why}");
    }
    assert!(source.state.errors(Reason::Forbidden) > 0);
    // List alone does not do.
    let role = |verbs: &str| {
        format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {{name: h2trace}}, \
             rules: [{{apiGroups: [''], resources: [pods], verbs: [{verbs}]}}]}}\n---\n\
             {{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {{name: h2trace}}, \
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: h2trace}}, \
             subjects: [{{kind: User, name: nobody, apiGroup: rbac.authorization.k8s.io}}]}}\n"
        )
    };
    api.apply(&role("list"));
    let says_watch = || match source.state.api() {
        Reach::Lost { why, .. } => why.said.contains("cannot watch"),
        _ => false,
    };
    assert!(eventually(SOON, says_watch), "{:?}", source.state.api());
    api.apply(&role("get, list, watch"));
    wait_until_connected(&source);
}
