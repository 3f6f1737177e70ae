//! Which container a cgroup is, by its path: what the kubelet and the container runtimes name them.
//!
//! The kubelet makes one cgroup a pod below `kubepods`, between them one for the QoS class (none for
//! `Guaranteed`); the runtime makes one a container below the pod's. The cgroupfs driver joins names by
//! `/`, the systemd driver repeats the parents' names in each slice's (systemd.slice(5)).

/// How Kubernetes ranks a pod when memory runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Qos {
    /// Requests equal limits.
    Guaranteed,
    /// Some requests.
    Burstable,
    /// None.
    BestEffort,
}

/// What runs the container, as far as the name of its cgroup tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// `cri-containerd-ID.scope`.
    Containerd,
    /// `crio-ID.scope`, `crio-ID`.
    CriO,
    /// `docker-ID.scope`.
    Docker,
    /// The cgroupfs driver of most runtimes: the id alone.
    Unknown,
}

/// What the path of a cgroup says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerCgroup {
    /// The pod's uid with its dashes. Of a static pod 32 digits without.
    pub pod_uid: String,
    /// The container's id, also of a pod's sandbox (pause container); empty for the pod's own cgroup and for
    /// the runtime's helper processes in it.
    pub container_id: String,
    /// The pod's class; None where a cgroup namespace hides it.
    pub qos: Option<Qos>,
    pub runtime: Runtime,
}

/// The container (or the pod alone) that the cgroup `path` is, or is below of. Of several the outermost: the node's
/// kubelet made it, and what is below a container's own cgroup the container may have made, with any name.
#[must_use]
pub fn of_path(path: &str) -> Option<ContainerCgroup> {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    names.iter().enumerate().find_map(|(at, name)| {
        let before = at.checked_sub(1).and_then(|at| names.get(at)).copied();
        let pod = pod(name, before)?;
        let (runtime, container_id) = match pod.container {
            Some(container) => container,
            None => names
                .get(at + 1)
                .and_then(|name| container(name))
                .unwrap_or((Runtime::Unknown, "")),
        };
        Some(ContainerCgroup {
            pod_uid: pod.uid,
            container_id: container_id.to_owned(),
            qos: pod.qos,
            runtime,
        })
    })
}

/// The container of a process, by the text of its `/proc/PID/cgroup` (cgroups(7)): the line of the v2 hierarchy
/// where it names one, else those of the v1 controllers that the kubelet uses, else any.
#[must_use]
pub fn of_process(text: &str) -> Option<ContainerCgroup> {
    let v1 = |controller: &str| {
        text.lines().find_map(|line| {
            let (controllers, path) = controllers_and_path(line)?;
            controllers
                .split(',')
                .any(|one| one == controller)
                .then(|| of_path(path))?
        })
    };
    v2_path(text)
        .and_then(of_path)
        .or_else(|| ["memory", "pids", "name=systemd"].into_iter().find_map(v1))
        .or_else(|| {
            text.lines()
                .find_map(|line| of_path(controllers_and_path(line)?.1))
        })
}

/// The path in the v2 hierarchy; None on a host that has none.
#[must_use]
pub fn v2_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// `4:memory,cpu:/path` without its number.
fn controllers_and_path(line: &str) -> Option<(&str, &str)> {
    line.split_once(':')?.1.split_once(':')
}

/// The cgroup of a pod, by its name.
struct PodCgroup<'a> {
    uid: String,
    qos: Option<Qos>,
    /// In one name with its container, where kubelet and runtime disagree about the driver.
    container: Option<(Runtime, &'a str)>,
}

fn pod<'a>(name: &'a str, parent: Option<&str>) -> Option<PodCgroup<'a>> {
    // "SLICE:PREFIX:ID": a runtime without the systemd driver takes the systemd slice for a name.
    let (name, container) = match name.split_once(':') {
        Some((slice, rest)) => {
            let (prefix, id) = rest.split_once(':')?;
            (slice, Some((runtime(prefix), container_id(id)?)))
        }
        None => (name, None),
    };
    let found = |uid, qos| PodCgroup {
        uid,
        qos,
        container,
    };
    if let Some(slice) = name.strip_suffix(".slice") {
        let (parents, id) = slice.rsplit_once("-pod")?;
        // "kubepods-burstable", or "kubelet-kubepods-burstable" below another slice.
        let qos = match parents.rsplit_once("kubepods")?.1 {
            "" => Some(Qos::Guaranteed),
            "-burstable" => Some(Qos::Burstable),
            "-besteffort" => Some(Qos::BestEffort),
            _ => return None,
        };
        return Some(found(uid(id)?, qos));
    }
    let uid = uid(name.strip_prefix("pod")?)?;
    let qos = match parent? {
        "kubepods" => Some(Qos::Guaranteed),
        "burstable" => Some(Qos::Burstable),
        "besteffort" => Some(Qos::BestEffort),
        // Seen from a pod of the same class.
        ".." => None,
        _ => return None,
    };
    Some(found(uid, qos))
}

/// A uid in either spelling: systemd has another meaning for dashes.
fn uid(spelt: &str) -> Option<String> {
    let groups: Vec<&str> = spelt.split(['-', '_']).collect();
    let lengths = groups.iter().map(|group| group.len());
    let fits = lengths.clone().eq([8, 4, 4, 4, 12]) || lengths.eq([32]);
    (fits && groups.iter().all(|group| is_hex(group))).then(|| groups.join("-"))
}

fn container(name: &str) -> Option<(Runtime, &str)> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    // conmon watches a container of CRI-O and is none.
    if name.starts_with("crio-conmon-") {
        return None;
    }
    match name.rsplit_once('-') {
        Some((prefix, id)) => Some((runtime(prefix), container_id(id)?)),
        None => Some((Runtime::Unknown, container_id(name)?)),
    }
}

fn runtime(prefix: &str) -> Runtime {
    match prefix {
        "cri-containerd" | "containerd" => Runtime::Containerd,
        "crio" => Runtime::CriO,
        "docker" => Runtime::Docker,
        _ => Runtime::Unknown,
    }
}

/// All runtimes make ids of 64 hexadecimal digits.
fn container_id(id: &str) -> Option<&str> {
    (id.len() == 64 && is_hex(id)).then_some(id)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "5d3ae4a1b9e0d8f6c7b2a1908f7e6d5c4b3a29180f7e6d5c4b3a29181f2e3d4c";
    const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";
    const UID_: &str = "2c48913c_b29f_11e7_9350_020968147796";
    const STATIC: &str = "3b5cd5a1e7d64a6b1ad83bf9a1a5e7c2";

    #[test]
    fn every_layout_names_pod_container_class_and_runtime() {
        let named = [("UID_", UID_), ("UID", UID), ("STATIC", STATIC), ("ID", ID)];
        let spelt = |text: &str| {
            let names = named.iter();
            names.fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
        };
        let rows = include_str!("container_cgroups.txt").lines();
        let rows: Vec<_> = rows.filter(|row| !row.starts_with('#')).collect();
        assert_eq!(rows.len(), 30);
        for row in rows {
            let columns: Vec<_> = row.split_whitespace().collect();
            let [pod, container, qos, runtime, path] = columns[..] else {
                panic!("{row}");
            };
            let found = of_path(&spelt(path)).unwrap();
            assert_eq!(found.pod_uid, spelt(pod), "{row}");
            assert_eq!(
                found.container_id,
                spelt(container).replace('-', ""),
                "{row}"
            );
            assert_eq!(format!("{:?}", found.qos.unwrap()), qos, "{row}");
            assert_eq!(format!("{:?}", found.runtime), runtime, "{row}");
        }
    }

    #[test]
    fn class_that_a_cgroup_namespace_hides_is_unknown() {
        let found = of_path(&format!("/../../pod{UID}/{ID}")).unwrap();
        assert_eq!(
            (found.pod_uid.as_str(), found.container_id.as_str()),
            (UID, ID)
        );
        assert_eq!(found.qos, None);
    }

    #[test]
    fn what_is_in_no_pod_names_none() {
        for path in [
            "/",
            "",
            "/init.scope",
            "/system.slice/containerd.service",
            "/system.slice/kubelet.service",
            "/user.slice/user-1000.slice/session-3.scope",
            "/kubepods",
            "/kubepods.slice",
            "/kubepods/burstable",
            "/kubepods.slice/kubepods-burstable.slice",
            "/kubepods/burstable/pod-of-mine",
            "/kubepods/burstable/pod123",
            "/my/pod2c48913c-b29f-11e7-9350-020968147796",
            "/machine.slice/other-pod2c48913c_b29f_11e7_9350_020968147796.slice",
            &format!("/docker/{ID}"),
            &format!("/system.slice/docker-{ID}.scope"),
            &format!("/machine.slice/libpod-{ID}.scope"),
        ] {
            assert_eq!(of_path(path), None, "{path}");
        }
    }

    #[test]
    fn processes_are_found_by_v2_first_and_by_v1_where_that_says_nothing() {
        let container = |text: &str| of_process(text).map(|found| found.container_id);
        let v2 = format!("0::/kubepods/burstable/pod{UID}/{ID}\n");
        assert_eq!(container(&v2).as_deref(), Some(ID));
        // Hybrid: the runtime may have put it in the v1 hierarchies alone.
        let hybrid = format!(
            "12:cpuset:/\n4:memory:/kubepods/burstable/pod{UID}/{ID}\n1:name=systemd:/init.scope\n0::/system.slice/containerd.service\n"
        );
        assert_eq!(container(&hybrid).as_deref(), Some(ID));
        let v1 = format!(
            "5:cpu,cpuacct:/\n3:pids:/kubepods/pod{UID}/{ID}\n1:name=systemd:/kubepods/pod{UID}/{ID}\n"
        );
        assert_eq!(container(&v1).as_deref(), Some(ID));
        let odd = format!("7:freezer:/kubepods/pod{UID}/{ID}\n");
        assert_eq!(container(&odd).as_deref(), Some(ID));
        assert_eq!(container("0::/init.scope\n"), None);
        assert_eq!(container("nonsense\n::\n0:\n"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_taken_without_a_panic(text in "[ -~\\n]{0,200}") {
            drop(of_process(&text));
            drop(of_path(&text));
        }

        #[test]
        fn names_of_the_right_words_are_taken_without_a_panic(
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "kubepods", "burstable", "pod", UID, UID_, ID, ".slice", ".scope", "/", "-", ":", "crio-", "é",
                    "cri-containerd", "0::", "\n", "..",
                ]),
                0..24,
            )
        ) {
            let text = words.concat();
            if let Some(found) = of_process(&text).or_else(|| of_path(&text)) {
                prop_assert!(found.container_id.is_empty() || found.container_id.len() == 64);
                prop_assert!(matches!(found.pod_uid.len(), 32 | 36));
            }
        }
    }
}
