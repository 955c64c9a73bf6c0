//! Gives memory that a burst needed back to the system.
//!
//! The allocator of glibc keeps what is freed: 1,000 connections of HTTP/2 left 21 MiB behind for as
//! long as the process lived. It gives whole pages back where it is told to. Others do so by
//! themselves, or not at all. May use nothing of the crate.

use std::time::Duration;

/// Between looks at what the process has.
const LOOK: Duration = Duration::from_secs(5);
/// The share by which what it has must differ from what it had after the last time, in percent: to
/// walk through all free memory takes milliseconds, in which no worker can allocate.
const GROWN: usize = 10;
/// Connections fewer than this are no burst.
const BURST: usize = 64;

/// When memory is worth giving back.
#[derive(Debug, Default)]
struct Tide {
    /// Bytes resident after the last time.
    floor: usize,
    /// The most connections that were open since.
    most_open: usize,
}

impl Tide {
    /// True if it is time: the process grew, or most of the connections that were there are gone.
    fn has_turned(&mut self, resident: usize, open: usize) -> bool {
        self.most_open = self.most_open.max(open);
        let ebbed = self.most_open >= BURST && open <= self.most_open / 2;
        let grown = resident > self.floor + self.floor / 100 * GROWN;
        ebbed || grown
    }

    /// Memory was given back: so much is left, for so many connections.
    fn settle(&mut self, resident: usize, open: usize) {
        (self.floor, self.most_open) = (resident, open);
    }
}

/// Gives memory back whenever there is some to give, for ever; `open` says how many connections are
/// open. Ends at once where the allocator needs no telling.
pub(crate) async fn give_back(open: impl Fn() -> usize) {
    let Some(resident) = resident() else { return };
    let mut tide = Tide {
        floor: resident,
        most_open: 0,
    };
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(now) = self::resident() else { return };
        if tide.has_turned(now, open()) {
            glibc::trim();
            tide.settle(self::resident().unwrap_or(now), open());
        }
    }
}

/// Pages that are in memory, as the kernel counts them, of a process whose allocator is glibc's.
fn resident() -> Option<usize> {
    if !glibc::IS_HERE {
        return None;
    }
    let counts = std::fs::read_to_string("/proc/self/statm").ok()?;
    counts.split(' ').nth(1)?.parse().ok()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::ffi::c_int;

    pub(super) const IS_HERE: bool = true;

    #[expect(
        unsafe_code,
        reason = "a declaration; the function may be called by any thread at any time (malloc_trim(3))"
    )]
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> c_int;
    }

    pub(super) fn trim() {
        // 1 if there was something to give, 0 if not; either is fine.
        let _gave = malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod glibc {
    pub(super) const IS_HERE: bool = false;

    pub(super) fn trim() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_back_after_growth_and_after_a_burst() {
        let mut tide = Tide {
            floor: 1000,
            most_open: 0,
        };
        for (resident, open, turned) in [
            (1000, 0, false),
            (1100, 10, false),
            (1101, 10, true),
            (1050, 200, false),
            (1050, 101, false),
            (1050, 100, true),
        ] {
            assert_eq!(tide.has_turned(resident, open), turned, "{resident} {open}");
        }
        tide.settle(1050, 100);
        assert!(!tide.has_turned(1050, 100));
        // A few that come and go are no burst.
        tide.settle(1050, 10);
        assert!(!tide.has_turned(1050, 0));
    }

    #[test]
    fn what_was_freed_goes_back() {
        let Some(before) = resident() else { return };
        let blocks: Vec<Vec<u8>> = (0..100_000).map(|_| vec![1; 2000]).collect();
        // One that stays, above all the others.
        let stays = vec![1u8; 2000];
        assert!(resident().unwrap() > before + 25_000);
        drop(blocks);
        glibc::trim();
        assert!(resident().unwrap() < before + 12_500, "{}", stays.len());
    }
}
