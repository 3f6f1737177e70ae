//! Who names pods, against a real etcd and kube-apiserver: lists, watches, rights and reconnects. There is no node:
//! the tests make pods and say how they are, as a kubelet does.

mod chart;
mod given;
mod lists;
mod outages;
mod rights;
mod scrapers;
