//! Load from inside the cluster, with every request counted.
//!
//! May use `cluster`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::time::sleep;

use super::app::IMAGE;
use super::{Namespace, READY};
use crate::figure::say;
use crate::process::wait_until;

/// How long the last counts are asked for.
const TOLD: Duration = Duration::from_secs(30);

/// A pod that sends requests until its namespace goes.
pub struct Load<'a> {
    namespace: &'a Namespace,
    name: String,
    rate: u32,
}

/// What a load counted since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All requests that are answered or given up.
    pub sent: u64,
    /// Answered with 200.
    pub good: u64,
    /// All others.
    pub failed: u64,
    /// Why, and how often.
    pub reasons: BTreeMap<String, u64>,
    /// Which pods answered, and how often.
    pub pods: BTreeMap<String, u64>,
    /// The slowest, in milliseconds.
    pub slowest: u64,
}

impl<'a> Load<'a> {
    /// Starts a pod `name` that sends `rate` requests a second to `url`, and waits for answers.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time.
    pub async fn start(
        namespace: &'a Namespace,
        name: &str,
        url: &str,
        rate: u32,
    ) -> anyhow::Result<Self> {
        namespace.apply(&pod(name, url, rate)).await?;
        let load = Self {
            namespace,
            name: name.to_owned(),
            rate,
        };
        let answered = || async { Ok(load.last_line().await.is_ok_and(|counts| counts.good > 0)) };
        wait_until("answers to the load", READY, answered).await?;
        Ok(load)
    }

    /// What it counted so far, at most a second ago. A busy node that does not tell is asked again:
    /// that is no failed request.
    ///
    /// # Errors
    ///
    /// If it told nothing in [`TOLD`].
    pub async fn counts(&self) -> anyhow::Result<Counts> {
        let asked = Instant::now();
        loop {
            match self.last_line().await {
                Err(error) if asked.elapsed() < TOLD => say(format!("asked again: {error:#}")),
                said => return said,
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn last_line(&self) -> anyhow::Result<Counts> {
        let words = ["logs", &self.name, "--container", "app", "--tail", "1"];
        let said = self.namespace.kubectl(words).await?.good()?;
        Counts::read(said.trim())
    }

    /// Waits until as much was sent as in `time`, from now on.
    ///
    /// # Errors
    ///
    /// If it was not within three times that.
    pub async fn run_for(&self, time: Duration) -> anyhow::Result<Counts> {
        let before = self.counts().await?.sent;
        let more = u64::from(self.rate) * time.as_secs();
        let enough = || async { Ok(self.counts().await?.sent >= before + more) };
        wait_until("the load goes on", time * 3 + READY, enough).await?;
        self.counts().await
    }

    /// Fails if a request failed since `before`; what was counted since then.
    ///
    /// # Errors
    ///
    /// If one failed; the message has the reasons.
    pub async fn none_failed_since(&self, before: &Counts) -> anyhow::Result<Counts> {
        // Whatever was under way is counted by then.
        let now = self.run_for(Duration::from_secs(6)).await?;
        let since = now.since(before);
        if since.failed > 0 {
            bail!(
                "{} of {} failed: {:?}",
                since.failed,
                since.sent,
                since.reasons
            );
        }
        Ok(since)
    }
}

impl Counts {
    fn read(line: &str) -> anyhow::Result<Self> {
        let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let number = |name: &str| value[name].as_u64().with_context(|| format!("no {name}"));
        let map = |name: &str| {
            let object = value[name].as_object().cloned().unwrap_or_default();
            let entries = object.into_iter();
            entries
                .filter_map(|(key, value)| Some((key, value.as_u64()?)))
                .collect()
        };
        Ok(Self {
            sent: number("sent")?,
            good: number("good")?,
            failed: number("failed")?,
            slowest: number("slowest")?,
            reasons: map("reasons"),
            pods: map("pods"),
        })
    }

    /// What was added after `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let less = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            let left = now.iter().map(|(key, count)| {
                let had = then.get(key).copied().unwrap_or_default();
                (key.clone(), count.saturating_sub(had))
            });
            left.filter(|(_, count)| *count > 0).collect()
        };
        Self {
            sent: self.sent - before.sent,
            good: self.good - before.good,
            failed: self.failed - before.failed,
            slowest: self.slowest,
            reasons: less(&self.reasons, &before.reasons),
            pods: less(&self.pods, &before.pods),
        }
    }
}

fn pod(name: &str, url: &str, rate: u32) -> String {
    format!(
        "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: {name} }}\n\
         ---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ app: {name} }} }}\n\
         spec:\n  serviceAccountName: {name}\n  restartPolicy: Never\n  containers:\n\
         \x20 - name: app\n    image: {IMAGE}\n    args: [load, \"{url}\", \"{rate}\"]\n\
         \x20   resources: {{ requests: {{ cpu: 50m, memory: 16Mi }} }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn counts_are_read_and_subtracted() {
        let line = |sent, good| {
            format!(
                r#"{{"sent":{sent},"good":{good},"failed":1,"reasons":{{"connect":1}},"pods":{{"a":{good}}},"slowest":7}}"#
            )
        };
        let before = Counts::read(&line(10, 9)).unwrap();
        let since = Counts::read(&line(30, 29)).unwrap().since(&before);
        assert_eq!((since.sent, since.good, since.failed), (20, 20, 0));
        assert_eq!(since.pods["a"], 20);
        assert!(since.reasons.is_empty());
    }
}
