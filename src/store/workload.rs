//! Workload: what a statement is for. Each kind has its share of the connections, so that none waits behind another kind.

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Whether the database works: readiness and the heartbeats of the change feed.
    Probe,
    /// Reads of few rows by a unique index, for a verification above all.
    Lookup,
    /// Everything that writes.
    Change,
    /// Reads of many rows, such as a page of a list.
    Scan,
}

impl Workload {
    pub const ALL: [Self; 4] = [Self::Probe, Self::Lookup, Self::Change, Self::Scan];

    /// How many of a number of connections it may use at a time. From four connections on, all shares together are that
    /// number; with fewer, the workloads compete for them. Scans have few, because each keeps a core of the database busy.
    pub fn share(self, connections: usize) -> usize {
        let (probes, lookups, scans) = (1 + usize::from(connections >= 8), connections / 4, connections / 10);
        match self {
            Self::Probe => probes,
            Self::Lookup => lookups.max(1),
            Self::Scan => scans.max(1),
            Self::Change => connections.saturating_sub(probes + lookups.max(1) + scans.max(1)).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_all_connections_and_never_none() {
        let shares = |connections| Workload::ALL.map(|workload| workload.share(connections));
        assert_eq!(shares(20), [2, 5, 11, 2]);
        for connections in 1..1000 {
            assert!(shares(connections).iter().all(|share| *share >= 1));
            assert_eq!(shares(connections).iter().sum::<usize>(), connections.max(4), "{connections}");
        }
    }
}
