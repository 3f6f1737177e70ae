//! The filter's members: which processes, cgroups, pods, namespaces, ports and names, in the kernel's maps.

use std::sync::{Arc, Mutex, PoisonError};

use aya::{
    Ebpf, EbpfError,
    maps::{Array, HashMap, MapData},
};

use super::load::{Filter, StartError, take};
use crate::workload::select::CgroupKind;

/// The filter's members, in the maps.
pub(super) struct Members {
    pids: HashMap<MapData, u32, u8>,
    cgroups: HashMap<MapData, u64, u8>,
    netns: HashMap<MapData, u32, u8>,
    ports: HashMap<MapData, u16, u8>,
    comms: HashMap<MapData, [u8; 16], u8>,
    live: Option<LiveCgroups>,
    epoch: Arc<Mutex<Epoch>>,
}

/// The number that tells the programs to judge every socket anew; 0: they look at nothing yet.
struct Epoch {
    map: Array<MapData, u32>,
    number: u32,
}

impl Epoch {
    fn raise(&mut self) -> Result<(), StartError> {
        self.number = self.number.checked_add(1).unwrap_or(1);
        self.map
            .set(0, self.number, 0)
            .map_err(|e| StartError::Load(EbpfError::MapError(e)))
    }
}

fn raise(epoch: &Mutex<Epoch>) -> Result<(), StartError> {
    epoch.lock().unwrap_or_else(PoisonError::into_inner).raise()
}

/// The members of [`Filter::pods`] and [`Filter::excluded`], which change while the programs run. May be used
/// from another thread than the [`Tracer`](super::Tracer)'s.
pub struct LiveCgroups {
    pods: HashMap<MapData, u64, u8>,
    excluded: HashMap<MapData, u64, u8>,
    epoch: Arc<Mutex<Epoch>>,
}

impl std::fmt::Debug for LiveCgroups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveCgroups").finish_non_exhaustive()
    }
}

impl LiveCgroups {
    /// Adds cgroups. When it returns, their next call is judged with them.
    ///
    /// # Errors
    /// [`StartError::FilterTooLarge`]: the map is full; those before the one that had no room are members.
    pub fn add(&mut self, kind: CgroupKind, ids: &[u64]) -> Result<(), StartError> {
        let map = self.map(kind);
        let mut added = Ok(());
        for id in ids {
            if map.insert(id, 1, 0).is_err() {
                added = Err(StartError::FilterTooLarge("pod"));
                break;
            }
        }
        // Also those sockets that were refused before, or were followed.
        raise(&self.epoch)?;
        added
    }

    /// Takes cgroups out in which there may be life: their sockets are judged anew.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove(&mut self, kind: CgroupKind, ids: &[u64]) -> Result<(), StartError> {
        self.forget(kind, ids);
        raise(&self.epoch)
    }

    /// Takes cgroups out that are gone. No other socket is judged anew for it.
    pub fn forget(&mut self, kind: CgroupKind, ids: &[u64]) {
        let map = self.map(kind);
        for id in ids {
            // One that is not there need not be taken out.
            let _gone = map.remove(id);
        }
    }

    #[must_use]
    pub fn count(&mut self, kind: CgroupKind) -> usize {
        self.map(kind).keys().filter_map(Result::ok).count()
    }

    fn map(&mut self, kind: CgroupKind) -> &mut HashMap<MapData, u64, u8> {
        match kind {
            CgroupKind::Pod => &mut self.pods,
            CgroupKind::Excluded => &mut self.excluded,
        }
    }
}

impl Members {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Members, StartError> {
        let epoch = Arc::new(Mutex::new(Epoch {
            map: take(ebpf, "EPOCH")?,
            number: 0,
        }));
        Ok(Members {
            pids: take(ebpf, "PIDS")?,
            cgroups: take(ebpf, "CGROUPS")?,
            netns: take(ebpf, "NETNS")?,
            ports: take(ebpf, "PORTS")?,
            comms: take(ebpf, "COMMS")?,
            live: Some(LiveCgroups {
                pods: take(ebpf, "PODS")?,
                excluded: take(ebpf, "EXCLUDED")?,
                epoch: Arc::clone(&epoch),
            }),
            epoch,
        })
    }

    /// Makes the members those of `filter`, and has every socket judged anew. Those of the kinds that
    /// [`Members::take_live`] gave away stay as they are.
    pub(super) fn set(&mut self, filter: &Filter) -> Result<(), StartError> {
        let pids: Vec<u32> = super::process::with_descendants(&filter.pids);
        let comms: Vec<[u8; 16]> = filter.comms.iter().map(|name| comm(name)).collect();
        replace(&mut self.pids, &pids, "process")?;
        replace(&mut self.cgroups, &filter.cgroups, "cgroup")?;
        replace(&mut self.netns, &filter.netns, "network namespace")?;
        replace(&mut self.ports, &filter.ports, "port")?;
        replace(&mut self.comms, &comms, "name")?;
        if let Some(live) = &mut self.live {
            let of = |ids: &Option<Vec<u64>>| ids.clone().unwrap_or_default();
            replace(&mut live.pods, &of(&filter.pods), "pod")?;
            replace(&mut live.excluded, &of(&filter.excluded), "pod")?;
        }
        // A process that was forked between the two walks would be missed: look once more, now that
        // sched_process_fork follows the ones that were found.
        for pid in super::process::with_descendants(&filter.pids) {
            self.pids
                .insert(pid, 1, 0)
                .map_err(|_| StartError::FilterTooLarge("process"))?;
        }
        // Before `open` the programs look at nothing.
        let is_open = self
            .epoch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .number
            != 0;
        if is_open { self.open() } else { Ok(()) }
    }

    /// From now on the programs look at socket calls, and judge every socket anew. All at once: were they
    /// attached one after another into traffic, a request would be seen and its response not.
    pub(super) fn open(&mut self) -> Result<(), StartError> {
        raise(&self.epoch)
    }

    /// The members that change while the programs run; None when they were given away.
    pub(super) fn take_live(&mut self) -> Option<LiveCgroups> {
        self.live.take()
    }
}

/// `task->comm`: 15 bytes and a NUL.
pub(super) fn comm(name: &str) -> [u8; 16] {
    let mut comm = [0; 16];
    for (to, from) in comm.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    comm
}

/// Adds what is missing before it removes what is too much, so that a member that stays is never absent.
fn replace<K: aya::Pod + PartialEq>(
    map: &mut HashMap<MapData, K, u8>,
    members: &[K],
    kind: &'static str,
) -> Result<(), StartError> {
    for member in members {
        map.insert(member, 1, 0)
            .map_err(|_| StartError::FilterTooLarge(kind))?;
    }
    let gone: Vec<K> = map
        .keys()
        .filter_map(Result::ok)
        .filter(|key| !members.contains(key))
        .collect();
    for key in gone {
        // A process may have ended, and its entry with it, since the keys were read.
        let _gone = map.remove(&key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_as_the_kernel_cuts_them() {
        assert_eq!(&comm("grpc-server"), b"grpc-server\0\0\0\0\0");
        assert_eq!(&comm("a-name-of-twenty-one!"), b"a-name-of-twent\0");
    }
}
