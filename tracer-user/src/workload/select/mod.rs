//! Which pods are traced, and their cgroups as they come and go.
//!
//! ```text
//! labels      a label selector, parsed
//! selection   which pods and containers are meant
//! cgroups     the cgroups of pods that there are on this host
//! membership  the two together: what has to be in the kernel's maps
//! keeper      keeps it there while the programs run
//! ```

pub mod cgroups;
pub mod keeper;
pub mod labels;
pub mod membership;
pub mod selection;

pub use self::keeper::{Keeper, Selected};
pub use self::membership::Membership;
pub use self::selection::{PodName, Selection};

/// The pod and the container whose cgroup the path is.
fn place_of(path: &str) -> Option<cgroups::PodCgroup> {
    let is_uid =
        |uid: &str| uid.len() >= 32 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let is_id = |id: &str| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let mut names = path
        .split('/')
        .skip_while(|name| !(name.starts_with("pod") || name.contains("-pod")));
    let name = names.next()?.trim_end_matches(".slice");
    let uid = name.rsplit_once("pod")?.1.replace('_', "-");
    let container = names
        .next()
        .map(|name| name.trim_end_matches(".scope"))
        .map(|name| name.rsplit_once('-').map_or(name, |(_, id)| id))
        .filter(|id| is_id(id));
    is_uid(&uid).then(|| cgroups::PodCgroup {
        pod_uid: uid,
        container_id: container.unwrap_or_default().to_owned(),
    })
}
