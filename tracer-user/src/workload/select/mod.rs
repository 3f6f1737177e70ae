//! Which pods are traced, and their cgroups as they come and go.
//!
//! ```text
//! labels      a label selector, parsed
//! selection   which pods and containers are meant
//! cgroups     the cgroups of pods that there are on this host
//! membership  the two together: what has to be in the kernel's maps
//! ```

pub mod cgroups;
pub mod labels;
pub mod membership;
pub mod selection;

pub use self::membership::{CgroupKind, Membership};
pub use self::selection::{PodName, Selection};
