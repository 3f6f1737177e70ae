//! Which pods are traced, and their cgroups as they come and go.

pub mod labels;
